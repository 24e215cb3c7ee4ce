"""The commands, one file each: ``run(arguments) -> exit code``, importing what is heavy only inside."""
