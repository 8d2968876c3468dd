"""MKE's client bundles: read from folder and zip file, renewed, kept private; an error names a wrong one."""

from __future__ import annotations

import os
import stat
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from msr_cache.swarm.manager import Address
from tests.msr_cache.conftest import BUNDLE, bundle_folder, from_bundle, message


def bundle_zip(file: Path, entries: dict[str, str] | None = None) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in (entries or BUNDLE).items():
            archive.writestr(name, text)
    return file


def test_a_bundles_folder_gives_host_and_key_material_by_path(tmp_path: Path) -> None:
    folder = bundle_folder(tmp_path / "bundle")
    assert from_bundle(folder) == Address(host="tcp://mke.example.com:443", cert_path=str(folder))


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
    assert address == Address(host="tcp://mke.example.com:443", cert_path=str(folder))
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    assert {path for path, mode in modes.items() if mode == 0o600} == {folder / name for name in BUNDLE}
    assert {path for path, mode in modes.items() if mode == 0o700} == {folder, folder / "tls", folder / "tls/docker"}
    assert len(modes) == len(BUNDLE) + 3


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
    evil = list(tmp_path.rglob("evil"))
    assert evil
    assert all(path.is_relative_to(home / "bundle") for path in evil)


def test_a_file_that_is_no_zip_is_reported_and_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "bundle.zip").write_text("<html>Sign in</html>")
    told = message(lambda: from_bundle(tmp_path / "bundle.zip"))
    assert told.startswith(f"msr-cache:swarm.clientBundle: found {tmp_path / 'bundle.zip'}, which can't be unpacked")
    assert not (tmp_path / "bundle").exists()


def test_a_zip_that_is_damaged_is_reported_and_leaves_no_folder(tmp_path: Path) -> None:
    file = bundle_zip(tmp_path / "bundle.zip")
    file.write_bytes(file.read_bytes().replace(b"private key", b"privatX key"))
    told = message(lambda: from_bundle(file))
    assert "can't be unpacked (Bad CRC-32" in told
    assert not (tmp_path / "bundle").exists()


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
        f"msr-cache:swarm.clientBundle: found no DOCKER_HOST in {folder / 'env.sh'}: download the bundle again"
    )
