"""A certificate that somebody signed for a key of the stack's; one of another key is refused before any change."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import CheckResult, CreateResult, DiffResult, UpdateResult

from msr_cache.refusal import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, is_unknown, unchanged
from msr_cache.resources.tracked import Tracked


class SignedCertificateProvider(SwarmProvider):
    """Compares keys in `check`, which previews run too."""

    def check(self, _olds: Props, news: Props) -> CheckResult:
        """Only the engine knows the key; the rest was checked with the config."""
        from msr_cache.x509.chain import belongs

        if not is_unknown(news["publicKeyPem"]) and not belongs(news["certificatePem"], news["publicKeyPem"]):
            message = (
                f"{news['at']}: found the certificate of another key; allowed is one made of the stack output "
                "certificateRequestPem"
            )
            raise Refusal(message)
        return CheckResult(news, [])

    def create(self, props: Props) -> CreateResult:
        """Nothing is left to do."""
        return CreateResult("signed", props)

    def diff(self, _id: str, olds: Props, news: Props) -> DiffResult:
        """Tell a certificate that was renewed."""
        return DiffResult(changes=not unchanged(olds, news, "certificatePem", "publicKeyPem"))

    def update(self, _id: str, _olds: Props, news: Props) -> UpdateResult:
        """Nothing is left to do."""
        return UpdateResult(news)


class SignedCertificate(Tracked, module="msr", name="SignedCertificate"):
    """`certificatePem`, given at the config key `at`, signed for `publicKeyPem`."""

    def __init__(self, name: str, props: dict[str, Any], opts: pulumi.ResourceOptions) -> None:
        super().__init__(SignedCertificateProvider(), name, props, opts)
