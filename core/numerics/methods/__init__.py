"""One step of a method: coefficient tables and the steppers made from them."""
