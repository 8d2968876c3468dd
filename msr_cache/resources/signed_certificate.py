"""A certificate that your CA signed for the stack's key; one for another key is refused before anything changes."""

from pulumi.dynamic import CheckResult, CreateResult

from msr_cache.refusal import Refusal
from msr_cache.resources.provider import Props, SwarmProvider, is_unknown
from msr_cache.resources.tracked import Tracked


class SignedCertificateProvider(SwarmProvider):
    """Compares keys in `check`, which previews run too; the config's checks don't know the key."""

    updates_on = ("certificatePem", "publicKeyPem")

    def check(self, _olds: Props, news: Props) -> CheckResult:
        from msr_cache.x509.chain import matches_key

        if not is_unknown(news["publicKeyPem"]) and not matches_key(news["certificatePem"], news["publicKeyPem"]):
            raise Refusal(
                f"{news['at']}: found the certificate of another key, expected one that your CA signed from the stack "
                "output certificateRequestPem"
            )
        return CheckResult(news, [])

    def create(self, props: Props) -> CreateResult:
        return CreateResult("signed", props)


class SignedCertificate(Tracked, provider=SignedCertificateProvider):
    """`certificatePem`, given at the config key `at`, signed for `publicKeyPem`."""
