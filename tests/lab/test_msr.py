"""What the lab's MSR promises: it authenticates, redirects, and keeps caches and accounts as the reference says."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
import requests

from lab.client import PullError, pull
from lab.msr_api import ACCESS_TOKENS, ADMIN, PASSWORDS
from lab.registry import tar
from lab.site import Site

pytestmark = pytest.mark.swarm

ALICE = ("alice", PASSWORDS["alice"])
BOSS = (ADMIN, PASSWORDS[ADMIN])


@pytest.fixture(autouse=True)
def clean(site: Site) -> Iterator[None]:
    yield
    site.msr.repair()
    with site.msr.book() as known:
        known["caches"].clear()
        known["settings"].clear()


class Msr:
    """Its API, as `who` uses it."""

    def __init__(self, site: Site, who: tuple[str, str] | None) -> None:
        self.site = site
        self.who = who

    def call(self, method: str, path: str, **body: Any) -> requests.Response:
        url = f"{self.site.msr.url}/api/v0{path}"
        ca = str(self.site.msr.folder / "ca.pem")
        return requests.request(method, url, auth=self.who, json=body or None, verify=ca, timeout=5)


def test_only_who_logs_in_may_pull_what_is_not_public(site: Site) -> None:
    site.msr.registry.push("team/secret", "1", [tar({"a": (0o644, b"a")})], {})
    ca = site.msr.ca_pem()
    with pytest.raises(PullError, match="unauthorized"):
        pull(site.msr.url, "team/secret", "1", ca)
    with pytest.raises(PullError, match="invalid username/password"):
        pull(site.msr.url, "team/secret", "1", ca, user=("alice", "wrong"))
    assert pull(site.msr.url, "team/secret", "1", ca, user=ALICE).blobs
    assert pull(site.msr.url, "team/secret", "1", ca, user=(ADMIN, ACCESS_TOKENS[ADMIN])).blobs


def test_blobs_are_redirected_to_the_cache_of_the_account_and_to_no_other(site: Site) -> None:
    id_ = Msr(site, BOSS).call("POST", "/content_caches", name="c", host="https://127.0.0.1:1").json()["id"]
    assert Msr(site, ALICE).call("PATCH", "/accounts/alice/settings", contentCacheUUID=id_).ok
    shown = Msr(site, ALICE).call("GET", "/accounts/alice/settings").json()
    assert shown == {"ContentCacheUUID": id_}
    with pytest.raises(
        PullError, match=r"https://127.0.0.1:1/v2/library/app/blobs/sha256:.*expires=\d+&sign=.*refused"
    ):
        pull(site.msr.url, Site.app_repository, Site.app_tag, site.msr.ca_pem(), user=ALICE)
    assert pull(site.msr.url, Site.app_repository, Site.app_tag, site.msr.ca_pem(), user=BOSS).blobs


def test_caches_are_made_by_admins_seen_by_all_accounts_and_removed_as_often_as_one_likes(site: Site) -> None:
    entry = {"name": "c", "host": "https://c.example.com"}
    boss, alice, nobody = Msr(site, BOSS), Msr(site, ALICE), Msr(site, None)
    assert nobody.call("GET", "/content_caches").status_code == HTTPStatus.UNAUTHORIZED
    assert alice.call("POST", "/content_caches", **entry).status_code == HTTPStatus.FORBIDDEN
    made = boss.call("POST", "/content_caches", **entry)
    assert made.status_code == HTTPStatus.CREATED
    assert alice.call("GET", "/content_caches").json() == [made.json()]
    path = f"/content_caches/{made.json()['id']}"
    assert alice.call("GET", path).json() == {"id": made.json()["id"], **entry}
    assert boss.call("PUT", path, **entry).status_code == HTTPStatus.METHOD_NOT_ALLOWED
    assert boss.call("DELETE", path).status_code == HTTPStatus.NO_CONTENT
    assert boss.call("DELETE", path).status_code == HTTPStatus.NO_CONTENT
    assert alice.call("GET", path).status_code == HTTPStatus.NOT_FOUND
