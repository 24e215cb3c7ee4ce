"""Downloads against a server of our own on the loopback: what is asked for, what lies on disk, what is said."""

import hashlib
import io
import os
import random
import re
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from integrand.core.errors import InputError
from integrand.datasets import download as module
from integrand.datasets.catalogue import Dataset, RemoteFile, find
from integrand.datasets.download import check, download, locate

SIZE = 300_000
CONTENT = random.Random(0).randbytes(SIZE)


@dataclass
class Server:
    """What the loopback server offers and how it misbehaves; ``asked`` is the Range of every request it got."""

    content: bytes = CONTENT
    ranges: bool = True
    cuts: list[int] = field(default_factory=list)  # bytes of body after which each coming answer is cut
    statuses: list[int] = field(default_factory=list)  # statuses of the coming answers, before it behaves
    lengths: bool = True  # whether Content-Length is sent
    chunked: bool = False  # whether the body comes in chunks of its own
    content_range: str | None = None  # a Content-Range that lies
    reset: bool = False  # cut with a reset (RST), which throws away what is on its way
    vanish: bool = False  # stop listening after the first answer
    asked: list[str | None] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers["Range"]
            state.asked.append(wanted)
            if state.statuses:
                self.send_error(state.statuses.pop(0))
                return
            body, total = state.content, len(state.content)
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and state.ranges else 0  # pyright: ignore[reportOptionalSubscript]
            if start >= total:
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            body = body[start:]
            self.send_response(206 if start else 200)
            if start:
                self.send_header("Content-Range", state.content_range or f"bytes {start}-{total - 1}/{total}")
            if state.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            elif state.lengths:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if state.cuts:
                body = body[: state.cuts.pop(0)]
            state.sent.append(len(body))
            if state.chunked:
                for at in range(0, len(body), 7_000):
                    piece = body[at : at + 7_000]
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                if len(body) == total - start:
                    self.wfile.write(b"0\r\n\r\n")
            else:
                self.wfile.write(body)
            self.close_connection = True
            if state.reset and len(body) < total - start:
                self.wfile.flush()
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            if state.vanish:
                httpd.socket.close()

        def log_message(self, format: str, *args: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{httpd.server_port}/file.bin"
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.0, 0.0))
    yield state
    httpd.shutdown()
    thread.join()
    httpd.server_close()


def make_dataset(server: Server, content: bytes = CONTENT) -> Dataset:
    file = RemoteFile("folder/file.bin", server.url, hashlib.sha256(content).hexdigest(), len(content))
    return replace(find("etth1"), name="toy", size=len(content), files=(file,))


def listing(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def put(directory: Path, name: str, content: bytes) -> Path:
    path = directory / "folder" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_plain_download(server: Server, tmp_path: Path):
    (path,) = download(make_dataset(server), directory=tmp_path, progress=False)
    assert path == tmp_path / "folder/file.bin"
    assert path.read_bytes() == CONTENT
    assert listing(tmp_path) == ["folder/file.bin"]
    assert server.asked == [None]


def test_what_is_there_is_not_fetched_again(server: Server, tmp_path: Path):
    put(tmp_path, "file.bin", CONTENT)
    download(make_dataset(server), directory=tmp_path, progress=False)
    assert server.asked == []


def test_a_damaged_file_is_replaced(server: Server, tmp_path: Path):
    path = put(tmp_path, "file.bin", CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    download(make_dataset(server), directory=tmp_path, progress=False)
    assert path.read_bytes() == CONTENT


def test_only_missing_files_of_several_are_fetched(server: Server, tmp_path: Path):
    dataset = make_dataset(server)
    dataset = replace(dataset, files=(replace(dataset.files[0], path="folder/other.bin"), *dataset.files))
    put(tmp_path, "other.bin", CONTENT)
    paths = download(dataset, directory=tmp_path, progress=False)
    assert [path.name for path in paths] == ["other.bin", "file.bin"]
    assert len(server.asked) == 1


def test_an_earlier_part_is_continued_with_the_missing_bytes_alone(server: Server, tmp_path: Path):
    put(tmp_path, "file.bin.part", CONTENT[:123_456])
    (path,) = download(make_dataset(server), directory=tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    assert server.asked == ["bytes=123456-"]
    assert server.sent == [SIZE - 123_456]
    assert listing(tmp_path) == ["folder/file.bin"]


def test_a_dropped_connection_is_continued_in_the_same_call(server: Server, tmp_path: Path):
    server.cuts = [100_000, 50_000]
    (path,) = download(make_dataset(server), directory=tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]
    assert sum(server.sent) == SIZE


def test_a_reset_connection_is_continued(server: Server, tmp_path: Path):
    server.cuts, server.reset = [100_000, 50_000], True
    (path,) = download(make_dataset(server), directory=tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    assert len(server.asked) == 3


def test_progress_renews_the_tries(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "GENEROUS", 20_000)
    server.cuts = [30_000] * 9
    (path,) = download(make_dataset(server), directory=tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    assert sum(server.sent) == SIZE


@pytest.mark.parametrize("part", [b"", CONTENT[:99_999], b"x" * 99_999])
def test_a_server_without_ranges_is_read_from_the_start(part: bytes, server: Server, tmp_path: Path):
    server.ranges = False
    server.cuts = [200_000]
    put(tmp_path, "file.bin.part", part)
    (path,) = download(make_dataset(server), directory=tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    assert server.sent == [200_000, SIZE]


def test_a_truncated_body_keeps_the_part_and_the_next_call_continues(server: Server, tmp_path: Path):
    server.cuts = [100_000, 0, 0, 0]
    with pytest.raises(InputError) as caught:
        download(make_dataset(server), directory=tmp_path, progress=False)
    message = str(caught.value)
    assert "folder/file.bin stopped at 100,000 of 300,000 bytes" in message
    assert "run the same command again, it continues" in message
    assert "\n" not in message
    assert listing(tmp_path) == ["folder/file.bin.part"]
    assert (tmp_path / "folder/file.bin.part").read_bytes() == CONTENT[:100_000]

    server.sent.clear()
    (path,) = download(make_dataset(server), directory=tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    assert server.sent == [200_000]


@pytest.mark.parametrize("lengths", [True, False], ids=["Content-Length", "no Content-Length"])
def test_a_server_that_always_cuts_and_knows_no_ranges(lengths: bool, server: Server, tmp_path: Path):
    server.ranges, server.lengths, server.cuts = False, lengths, [150_000] * 20
    with pytest.raises(InputError, match=r"stopped at 150,000 of 300,000 bytes"):
        download(make_dataset(server), directory=tmp_path, progress=False)
    assert listing(tmp_path) == ["folder/file.bin.part"]
    assert 2 <= len(server.asked) <= 5


def test_a_chunked_body(server: Server, tmp_path: Path):
    server.chunked, server.cuts = True, [70_000]
    (path,) = download(make_dataset(server), directory=tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=70000-"]


def test_without_content_length(server: Server, tmp_path: Path):
    server.lengths = False
    (path,) = download(make_dataset(server), directory=tmp_path, progress=False)
    assert path.read_bytes() == CONTENT


def test_a_wrong_checksum_deletes_everything_and_names_both(server: Server, tmp_path: Path):
    server.content = bytes(SIZE)
    with pytest.raises(InputError) as caught:
        download(make_dataset(server), directory=tmp_path, progress=False)
    message = str(caught.value)
    assert f"expected {hashlib.sha256(CONTENT).hexdigest()}" in message
    assert f"found {hashlib.sha256(bytes(SIZE)).hexdigest()}" in message
    assert "run the same command again" in message
    assert "\n" not in message
    assert listing(tmp_path) == []


def test_a_part_of_another_file_heals_on_the_second_call(server: Server, tmp_path: Path):
    put(tmp_path, "file.bin.part", bytes(1000))
    with pytest.raises(InputError, match="sha256 expected"):
        download(make_dataset(server), directory=tmp_path, progress=False)
    assert listing(tmp_path) == []
    (path,) = download(make_dataset(server), directory=tmp_path, progress=False)
    assert path.read_bytes() == CONTENT


def test_a_part_that_is_whole_needs_no_network(server: Server, tmp_path: Path):
    put(tmp_path, "file.bin.part", CONTENT)
    (path,) = download(make_dataset(server), directory=tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    assert server.asked == []


def test_a_part_that_is_too_long_is_dropped(server: Server, tmp_path: Path):
    put(tmp_path, "file.bin.part", CONTENT + b"x")
    (path,) = download(make_dataset(server), directory=tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    assert server.asked == [None]


@pytest.mark.parametrize("lie", ["bytes 5-299999/300000", "bytes 1000-299999/999999", "nonsense"])
def test_a_wrong_content_range_starts_afresh(lie: str, server: Server, tmp_path: Path):
    server.content_range = lie
    put(tmp_path, "file.bin.part", CONTENT[:1000])
    (path,) = download(make_dataset(server), directory=tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


def test_range_not_satisfiable_starts_afresh(server: Server, tmp_path: Path):
    put(tmp_path, "file.bin.part", CONTENT[:1000])
    server.statuses = [416]
    (path,) = download(make_dataset(server), directory=tmp_path, progress=False)
    assert path.read_bytes() == CONTENT
    assert server.asked == ["bytes=1000-", None]


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1])
@pytest.mark.parametrize("lengths", [True, False], ids=["Content-Length", "no Content-Length"])
@pytest.mark.parametrize("part", [0, 1000])
def test_a_file_of_another_size_is_refused(size: int, lengths: bool, part: int, server: Server, tmp_path: Path):
    server.content, server.lengths = (CONTENT + b"x")[:size], lengths
    if part:
        put(tmp_path, "file.bin.part", CONTENT[:part])
    with pytest.raises(InputError, match=r"300,000"):
        download(make_dataset(server), directory=tmp_path, progress=False)
    assert "folder/file.bin" not in listing(tmp_path)


@pytest.mark.parametrize("status", [404, 403, 410])
def test_not_found_is_said_at_once(status: int, server: Server, tmp_path: Path):
    server.statuses = [status] * 9
    with pytest.raises(InputError, match=rf"the server answered {status} .*place it at {tmp_path}") as caught:
        download(make_dataset(server), directory=tmp_path, progress=False)
    assert "INTEGRAND_DATA" in str(caught.value)
    assert len(server.asked) == 1
    assert listing(tmp_path) == []


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path):
    server.statuses = [503, 429]
    (path,) = download(make_dataset(server), directory=tmp_path, progress=False)
    assert path.read_bytes() == CONTENT


def test_a_server_that_stays_busy(server: Server, tmp_path: Path):
    server.statuses = [503] * 20
    with pytest.raises(InputError, match=r"stopped at 0 of 300,000 bytes \(the server answered 503"):
        download(make_dataset(server), directory=tmp_path, progress=False)
    assert len(server.asked) == 4


def test_a_server_that_vanishes_half_way(server: Server, tmp_path: Path):
    server.cuts, server.vanish = [100_000], True
    with pytest.raises(InputError, match=r"stopped at 100,000 of 300,000 bytes .*it continues"):
        download(make_dataset(server), directory=tmp_path, progress=False)
    assert listing(tmp_path) == ["folder/file.bin.part"]


def unreachable(tmp_path: Path, url: str) -> str:
    file = RemoteFile("folder/file.bin", url, "0" * 64, 10)
    with pytest.raises(InputError) as caught:
        download(replace(find("etth1"), files=(file,)), directory=tmp_path, progress=False)
    assert listing(tmp_path) == []
    message = str(caught.value)
    assert "\n" not in message
    assert "INTEGRAND_DATA" in message
    assert str(tmp_path / "folder/file.bin") in message
    return message


@pytest.mark.usefixtures("server")
def test_no_network(tmp_path: Path):
    with socket.socket() as closed:  # bound and never listening: nothing else can take the port meanwhile
        closed.bind(("127.0.0.1", 0))
        message = unreachable(tmp_path, f"http://127.0.0.1:{closed.getsockname()[1]}/file.bin")
    assert re.match(r"cannot reach 127\.0\.0\.1:\d+ \(.*refused\)", message)


def test_no_name_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_PROXY", "*")

    def fail(*_args: object, **_options: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    message = unreachable(tmp_path, "http://nowhere.invalid/file.bin")
    assert message.startswith("cannot reach nowhere.invalid (Failed to resolve 'nowhere.invalid'")


def test_a_folder_that_cannot_be_written_is_said_before_the_transfer(server: Server, tmp_path: Path):
    (tmp_path / "folder").write_text("a file where the folder should be")
    with pytest.raises(InputError, match=r"cannot write to .*INTEGRAND_DATA"):
        download(make_dataset(server), directory=tmp_path, progress=False)
    assert server.asked == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_said_before_the_transfer(server: Server, tmp_path: Path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"cannot write to"):
        download(make_dataset(server), directory=tmp_path, progress=False)
    assert server.asked == []


def test_a_full_disk_is_said_before_the_transfer(server: Server, tmp_path: Path):
    dataset = make_dataset(server)
    dataset = replace(dataset, files=(replace(dataset.files[0], size=1 << 62),))
    with pytest.raises(InputError, match=r"needs 4611686\.0 TB .*are free: make room, or set INTEGRAND_DATA"):
        download(dataset, directory=tmp_path, progress=False)
    assert server.asked == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_disk_that_fills_up_meanwhile(server: Server, tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/file.bin.part").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"cannot write .*No space left.*it continues"):
        download(make_dataset(server), directory=tmp_path, progress=False)
    assert not (tmp_path / "folder/file.bin").exists()


def test_check_and_locate(server: Server, tmp_path: Path):
    dataset = make_dataset(server)
    (file,) = dataset.files

    def found() -> tuple[bool, str, int | None, str | None]:
        result = check(dataset, directory=tmp_path)
        (status,) = result.files
        assert status.path == tmp_path / file.path
        return result.ok, status.status, status.size, status.sha256

    assert found() == (False, "missing", None, None)
    with pytest.raises(InputError, match=r"'toy' is not in .*run 'integrand data download toy'"):
        locate(dataset, directory=tmp_path)

    put(tmp_path, "file.bin", CONTENT[:-1])
    assert found() == (False, "damaged", SIZE - 1, hashlib.sha256(CONTENT[:-1]).hexdigest())
    with pytest.raises(InputError, match=r"damaged: 299,999 bytes where 300,000 .*run 'integrand data download toy'"):
        locate(dataset, directory=tmp_path)

    put(tmp_path, "file.bin", bytes(SIZE))
    assert found() == (False, "damaged", SIZE, hashlib.sha256(bytes(SIZE)).hexdigest())
    with pytest.raises(InputError, match=r"damaged: sha256"):
        locate(dataset, directory=tmp_path)

    path = put(tmp_path, "file.bin", CONTENT)
    os.utime(path, ns=(1, 1))  # however coarse the clock of the file system is, the time of change is another one
    assert found() == (True, "ok", SIZE, file.sha256)
    assert locate(dataset, directory=tmp_path) == [path]


def test_locate_never_hashes_what_is_large(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "HASHED_ON_READING", SIZE - 1)
    put(tmp_path, "file.bin", bytes(SIZE))
    assert len(locate(make_dataset(server), directory=tmp_path)) == 1


def test_a_part_is_never_located(server: Server, tmp_path: Path):
    put(tmp_path, "file.bin.part", CONTENT)
    with pytest.raises(InputError, match="is not in"):
        locate(make_dataset(server), directory=tmp_path)


def test_the_environment_names_the_directory(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("INTEGRAND_DATA", str(tmp_path))
    dataset = make_dataset(server)
    assert download(dataset, progress=False) == locate(dataset) == [tmp_path / "folder/file.bin"]
    assert check(dataset).directory == tmp_path


def test_an_embedded_data_set_needs_nothing(tmp_path: Path):
    assert download("nyc_weather", directory=tmp_path / "none") == []
    assert locate("nyc_weather", directory=tmp_path / "none") == []
    assert check("nyc_weather", directory=tmp_path / "none").ok
    assert not (tmp_path / "none").exists()


def test_silence(server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    download(make_dataset(server), directory=tmp_path, progress=False)
    assert capfd.readouterr() == ("", "")


def test_lines_where_there_is_no_terminal(server: Server, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    put(tmp_path, "file.bin.part", CONTENT[:100_000])
    download(make_dataset(server), directory=tmp_path)
    out, err = capfd.readouterr()
    assert out == ""
    first, last = err.splitlines()
    assert first == f"downloading toy (300.0 kB, 100.0 kB of it already here) to {tmp_path}"
    assert re.fullmatch(r"downloaded toy in \d+ s", last)
    download(make_dataset(server), directory=tmp_path)
    assert capfd.readouterr().err == f"toy is already in {tmp_path}\n"


def test_a_bar_on_a_terminal(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    server.cuts = [100_000]
    download(make_dataset(server), directory=tmp_path)
    shown = terminal.getvalue()
    assert "folder/file.bin" in shown
    assert "300.0/300.0 kB" in shown
