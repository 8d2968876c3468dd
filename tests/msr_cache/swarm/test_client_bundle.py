"""MKE's client bundles: read from folder and zip file, renewed, kept private; an error names a wrong one."""

from __future__ import annotations

import os
import re
import stat
import tracemalloc
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msr_cache.refusal import Refusal
from msr_cache.swarm.manager import Address
from tests.msr_cache.conftest import BUNDLE, bundle_folder, from_bundle, message


def bundle_zip(file: Path, entries: dict[str, str] | None = None, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, text in (entries or BUNDLE).items():
            archive.writestr(name, text)
    return file


def test_a_bundles_folder_gives_host_and_key_material_by_path(tmp_path: Path) -> None:
    folder = bundle_folder(tmp_path / "bundle")
    assert from_bundle(folder) == Address("tcp://mke.example.com:443", str(folder), "clientBundle")


@pytest.mark.parametrize(
    "line", ["DOCKER_HOST=tcp://m:1", 'export DOCKER_HOST="tcp://m:1"', "  export DOCKER_HOST='tcp://m:1' "]
)
def test_the_bundles_host_is_read_as_a_shell_would(tmp_path: Path, line: str) -> None:
    assert from_bundle(bundle_folder(tmp_path, **{"env.sh": f"# comment\n{line}\n"})).host == "tcp://m:1"


def test_a_bundles_zip_is_unpacked_beside_itself_for_nobody_elses_eyes(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        address = from_bundle(bundle_zip(tmp_path / "bundle.zip"))
    finally:
        os.umask(before)
    folder = tmp_path / "bundle"
    assert address == Address("tcp://mke.example.com:443", str(folder), "clientBundle")
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    assert modes == {folder: 0o700, **{folder / name: 0o600 for name in ("ca.pem", "cert.pem", "key.pem", "env.sh")}}


def test_a_bundle_is_found_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    bundle_folder(tmp_path / "bundle")
    assert from_bundle(Path("~/bundle")).cert_path == str(tmp_path / "bundle")


def inodes(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_ino for path in [folder, *folder.rglob("*")]}


def test_a_zip_that_was_unpacked_is_not_unpacked_again(tmp_path: Path) -> None:
    from_bundle(bundle_zip(tmp_path / "bundle.zip"))
    before = inodes(tmp_path)
    from_bundle(tmp_path / "bundle.zip")
    assert inodes(tmp_path) == before


def test_a_renewed_zip_of_the_same_name_takes_the_old_ones_place_for_nobody_elses_eyes(tmp_path: Path) -> None:
    file = bundle_zip(tmp_path / "bundle.zip")
    date, first = file.stat().st_mtime, from_bundle(file)
    (tmp_path / "bundle/notes").write_text("the operator's own")
    before = os.umask(0)
    try:
        bundle_zip(file, {**BUNDLE, "key.pem": "renewed key"})
        os.utime(file, (date, date))  # a copy may bear any date
        assert from_bundle(file) == first
    finally:
        os.umask(before)
    assert (tmp_path / "bundle/key.pem").read_text() == "renewed key"
    assert stat.S_IMODE((tmp_path / "bundle/key.pem").stat().st_mode) == 0o600
    assert (tmp_path / "bundle/notes").read_text() == "the operator's own"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "bundle.zip"]


def test_what_a_killed_run_has_left_unpacked_in_part_is_completed(tmp_path: Path) -> None:
    file = bundle_zip(tmp_path / "bundle.zip")
    from_bundle(file)
    (tmp_path / "bundle/env.sh").unlink()
    (tmp_path / "bundle/key.pem").write_text("priv")
    assert from_bundle(file).host == "tcp://mke.example.com:443"
    assert (tmp_path / "bundle/key.pem").read_text() == BUNDLE["key.pem"]


def test_many_may_unpack_at_once(tmp_path: Path) -> None:
    """A refresh without the program: each resource's thread reads the address for itself."""
    file = bundle_zip(tmp_path / "bundle.zip")
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(from_bundle, [file] * 64))) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "bundle.zip"]


def test_a_damaged_zip_leaves_the_old_bundle_as_it_is(tmp_path: Path) -> None:
    file = bundle_zip(tmp_path / "bundle.zip")
    from_bundle(file)
    bundle_zip(file, {**BUNDLE, "key.pem": "renewed key"})
    file.write_bytes(file.read_bytes().replace(b"renewed key", b"renewXd key"))
    assert "can't be unpacked (Bad CRC-32" in message(lambda: from_bundle(file))
    assert (tmp_path / "bundle/key.pem").read_text() == BUNDLE["key.pem"]


def test_a_bundle_whose_zip_was_taken_away_is_still_one(tmp_path: Path) -> None:
    first = from_bundle(bundle_zip(tmp_path / "bundle.zip"))
    (tmp_path / "bundle.zip").unlink()
    assert from_bundle(tmp_path / "bundle.zip") == first


@pytest.mark.parametrize("name", ["../evil", "../../evil", "a/../../evil", "/evil", "bundle/../../evil"])
def test_a_zip_writes_nothing_outside_its_folder(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    from_bundle(bundle_zip(home / "bundle.zip", {**BUNDLE, name: "evil"}))
    assert not Path("/evil").exists()
    assert list(tmp_path.rglob("evil")) == []


def no_zip(file: Path) -> None:
    file.write_text("<html>Sign in</html>")


def damaged(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b"private key", b"privatX key"))


def encrypted(file: Path) -> None:
    """Set the flag that says so, in the entries and in the directory (APPNOTE.TXT, 4.4.4)."""
    packed = bytearray(file.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for found in re.finditer(re.escape(signature), bytes(packed)):
            packed[found.start() + flags] |= 1
    file.write_bytes(packed)


def unknown_compression(file: Path) -> None:
    packed = bytearray(file.read_bytes())
    for signature, method in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        for found in re.finditer(re.escape(signature), bytes(packed)):
            packed[found.start() + method] = 97
    file.write_bytes(packed)


@pytest.mark.parametrize("spoil", [no_zip, damaged, encrypted, unknown_compression])
def test_a_zip_that_cant_be_read_is_one_line_and_leaves_no_folder(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    file = bundle_zip(tmp_path / "bundle.zip")
    spoil(file)
    told = message(lambda: from_bundle(file))
    assert told.startswith(f"msr-cache:swarm.clientBundle: found {file}, which can't be unpacked (")
    assert not (tmp_path / "bundle").exists()


def test_a_zip_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    large = "0" * (8 << 20)
    file = bundle_zip(tmp_path / "bundle.zip", BUNDLE | {"other": large}, zipfile.ZIP_DEFLATED)
    from_bundle(file)  # what is not needed is not unpacked
    bundle_zip(file, {"key.pem": large}, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        told = message(lambda: from_bundle(file))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "can't be unpacked (key.pem has more than 1048576 bytes)" in told
    assert peak < 4 << 20


def test_an_env_sh_that_is_not_utf_8_is_read(tmp_path: Path) -> None:
    folder = bundle_folder(tmp_path)
    (folder / "env.sh").write_bytes("# für MKE\nexport DOCKER_HOST=tcp://m:1\n".encode("latin-1"))
    assert from_bundle(folder).host == "tcp://m:1"


@pytest.mark.parametrize("host", ["tcp://a@b@c:1", "tcp://m:99999", "tcp://m", "tcp://[::1", "tcp://m:1/../x"])
def test_a_bundle_of_an_address_that_is_none_is_one_line(tmp_path: Path, host: str) -> None:
    folder = bundle_folder(tmp_path, **{"env.sh": f"export DOCKER_HOST={host}\n"})
    told = message(lambda: from_bundle(folder))
    assert told.startswith("msr-cache:swarm.clientBundle: its address: found ")


def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(tmp_path: Path) -> None:
    folder = bundle_folder(tmp_path, **{"env.sh": None})
    os.mkfifo(folder / "env.sh")
    assert "found no env.sh in" in message(lambda: from_bundle(folder))


@pytest.mark.parametrize(
    ("folder_mode", "key_mode", "told"), [(0o755, 0o644, True), (0o700, 0o644, False), (0o755, 0o600, False)]
)
def test_a_bundle_whose_key_others_may_read_is_a_warning(
    tmp_path: Path, folder_mode: int, key_mode: int, *, told: bool
) -> None:
    folder = bundle_folder(tmp_path / "bundle")
    (folder / "key.pem").chmod(key_mode)
    folder.chmod(folder_mode)
    warnings = list(from_bundle(folder).warnings())
    at = "msr-cache:swarm.clientBundle: other users of this machine may read"
    assert warnings == [f"{at} {folder}/key.pem: run chmod -R go= {folder}"] * told


@given(
    position=st.floats(0, 1, exclude_max=True),
    junk=st.binary(max_size=8),
    cut=st.integers(0, 8),
    deflated=st.booleans(),
)
def test_whatever_a_zip_holds_it_is_read_or_refused_in_one_line(
    position: float, junk: bytes, cut: int, *, deflated: bool
) -> None:
    """A real bundle, with some bytes anywhere in it replaced by others."""
    with TemporaryDirectory() as scratch:
        compression = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
        file = bundle_zip(Path(scratch) / "bundle.zip", compression=compression)
        packed = file.read_bytes()
        at = int(position * len(packed))
        file.write_bytes(packed[:at] + junk + packed[at + cut :])
        with suppress(Refusal):
            assert from_bundle(file).host.startswith("tcp://")


@given(st.binary())
def test_whatever_env_sh_holds_it_names_a_manager_or_is_refused(env: bytes) -> None:
    with TemporaryDirectory() as scratch:
        folder = bundle_folder(Path(scratch))
        (folder / "env.sh").write_bytes(b"export DOCKER_HOST=tcp://" + env)
        with suppress(Refusal):
            assert from_bundle(folder).host.startswith("tcp://")


def test_a_bundle_that_is_not_there_is_reported_by_the_name_that_was_given(tmp_path: Path) -> None:
    told = message(lambda: from_bundle(tmp_path / "bundle.zip"))
    assert told.startswith(
        f"msr-cache:swarm.clientBundle: found no file {tmp_path / 'bundle.zip'}, expected a client bundle"
    )


def test_a_bundle_without_its_key_is_reported_by_the_files_name(tmp_path: Path) -> None:
    assert "found no key.pem in" in message(lambda: from_bundle(bundle_folder(tmp_path, **{"key.pem": None})))


def test_a_bundle_that_names_no_host_is_reported(tmp_path: Path) -> None:
    folder = bundle_folder(tmp_path, **{"env.sh": "export DOCKER_TLS_VERIFY=1\n"})
    assert message(lambda: from_bundle(folder)) == (
        f"msr-cache:swarm.clientBundle: found no DOCKER_HOST=tcp://... in {folder}/env.sh: download the bundle again"
    )
