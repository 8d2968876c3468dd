"""What a stack's config may say: the only place that knows defaults and limits.

The keys are camelCase, as Pulumi's are, below `msr-cache:`. An operator reads the same in docs/reference.md.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pulumi.runtime.config import is_config_secret
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel
from pydantic.functional_validators import AfterValidator, BeforeValidator

from msr_cache.config import errors
from msr_cache.config.field_types import GoDuration, HttpOrigin, HttpsOrigin, PemText, Port, Secret, is_host
from msr_cache.x509.pem import ca_problem

# Imported where it is used: a stack that is given no certificate saves the time.
if TYPE_CHECKING:
    from msr_cache.x509.chain import Given

LONGEST_CACHE_NAME = 32
"""Swarm limits names of secrets to 64 and of services to 63 characters; ours add up to 30 to the cache's."""
_EVERY_NODE = "every node"


def _checked(pattern: str, allowed: str) -> BeforeValidator:
    def check(value: object) -> object:
        # No text either: an unquoted 2.9 is a number to YAML.
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            message = f"{errors.found(value)}allowed is {allowed}"
            raise ValueError(message)
        return value

    return BeforeValidator(check)


def _host(value: str) -> str:
    if not is_host(value):
        message = f"found {value!r}, allowed is a host name or IP address alone: no scheme, port, path or blank"
        raise ValueError(message)
    return value


Fqdn = Annotated[str, AfterValidator(_host)]
NodeName = Annotated[str, _checked(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a node's host name, as `docker node ls` shows it")]
CacheName = Annotated[
    str,
    _checked(
        rf"[a-z0-9]([a-z0-9-]{{0,{LONGEST_CACHE_NAME - 2}}}[a-z0-9])?",
        f"a-z, 0-9 and - inside, {LONGEST_CACHE_NAME} characters at most",
    ),
]
# Docker image reference grammar (distribution/reference): [host[:port]/]path[:tag][@digest].
ImageName = Annotated[
    str,
    _checked(
        r"([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
        r"(:\w[\w.-]{0,127}(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})",
        "an image with a tag or digest, such as mirantis/dtr-content-cache:2.9.0",
    ),
]
LabelKey = Annotated[
    str, _checked(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", "a node label's name, such as dtr.cache")
]
MemorySize = Annotated[str, _checked(r"[1-9][0-9]*[kmg]", "a number and a unit (k, m, g), such as 512m")]
Account = Annotated[str, _checked(r"[^\s:/]+", "the name of an MSR account, with no blank, colon or slash")]
NeverShown = Annotated[SecretStr | None, Secret(), Field(strict=False, min_length=1)]


def _once(names: list[str], what: str) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = f"found {', '.join(twice)} more than once, allowed is each {what} once"
        raise ValueError(message)
    return names


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, frozen=True, strict=True)


class GivenCa(_Section):
    """Trust in MSR by what the operator knows of its CA: the certificate itself, or one or more pins of it."""

    sha256: list[str] | None = None
    pem: str | None = None

    @field_validator("sha256", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        pins = value if isinstance(value, list) and value else [value]
        for pin in pins:
            if not (isinstance(pin, str) and re.fullmatch(r"(sha256:)?[0-9a-f]{64}", pin)):
                message = (
                    f"found {pin!r}, allowed is the 64 lower-case hexadecimal digits of a certificate's SHA-256, no "
                    "colons; or sha256: and those of its public key's; or a list of such"
                )
                raise ValueError(message)
        return pins

    @field_validator("pem")
    @classmethod
    def _is_ca(cls, pem: str | None) -> str | None:
        problem = ca_problem(pem) if pem is not None else None
        if problem:
            raise ValueError(problem)
        return pem

    @model_validator(mode="after")
    def _exactly_one(self) -> GivenCa:
        if (self.sha256 is None) == (self.pem is None):
            message = "allowed is exactly one of sha256 (pin what is fetched) and pem (the CA certificate itself)"
            raise ValueError(message)
        return self


class Msr(_Section):
    """Where MSR is, which generation it is of, why it is trusted, and as whom its API is used (an admin)."""

    url: HttpsOrigin
    version: Annotated[
        str, _checked(r"[23]\.\d+(\.\d+)?", 'MSR\'s version in quotes, such as "2.9" or "2.9.4" (2.x or 3.x)')
    ] = "2.9"
    ca: Literal["fetch", "system"] | GivenCa = "fetch"
    user: Account | None = None
    password: NeverShown = None
    token: NeverShown = None

    @model_validator(mode="after")
    def _user_with_one_secret(self) -> Msr:
        given = [name for name in ("password", "token") if getattr(self, name) is not None]
        if len(given) != (0 if self.user is None else 1):
            message = (
                f"found {'a' if self.user else 'no'} user and {' and '.join(given) or 'no password or token'}, allowed "
                "is user with exactly one of password and token (an access token), or none of the three"
            )
            raise ValueError(message)
        return self

    @field_validator("ca", mode="before")
    @classmethod
    def _ca_form(cls, ca: object) -> object:
        if isinstance(ca, Mapping):
            return GivenCa.model_validate(ca)
        if ca not in ("fetch", "system"):
            message = f"found {ca!r}, allowed is fetch, system, or a map with sha256 or pem"
            raise ValueError(message)
        return ca

    @property
    def generation(self) -> str:
        """The prefix of all names: DTR's up to MSR 2.x, then MSR's (MSR 3.1 documentation: msr.cache, msr.cert.pem)."""
        return "dtr" if self.version.startswith("2.") else "msr"

    @property
    def default_image(self) -> str:
        """The cache's image for this version: its tag equals MSR's own (Docker KB: DTR content cache issues)."""
        tag = self.version if self.version.count(".") == 2 else f"{self.version}.0"  # noqa: PLR2004 - major.minor.patch
        name = (
            "mirantis/dtr-content-cache" if self.generation == "dtr" else "registry.mirantis.com/msr/msr-content-cache"
        )
        return f"{name}:{tag}"


class SwarmAccess(_Section):
    """How a manager of the swarm is reached: exactly one of the three."""

    host: (
        Annotated[
            str,
            _checked(
                r"ssh://[^\s/]+/?|tcp://[^\s/]+:\d+/?|unix:///\S+", "ssh://user@host, tcp://host:port or unix:///path"
            ),
        ]
        | None
    ) = None
    context: (
        Annotated[str, _checked(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", "a name that `docker context ls` shows")] | None
    ) = None
    client_bundle: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> SwarmAccess:
        given = [name for name, value in self.model_dump(by_alias=True).items() if value is not None]
        if len(given) != 1:
            message = f"found {' and '.join(given) or 'none'}, allowed is exactly one of host, context and clientBundle"
            raise ValueError(message)
        return self


TlsSource = Literal["selfSigned", "localCa", "provided", "csr"]
_GIVEN_BY: dict[TlsSource, set[str]] = {
    "selfSigned": set(),
    "localCa": set(),
    "provided": {"certificate", "intermediates", "ca", "key"},
    "csr": {"certificate", "intermediates", "ca"},
}


class Tls(_Section):
    """The cache's own certificate, by source; one that the stack makes is made anew within `renewDays` of its end."""

    source: TlsSource = "selfSigned"
    key_type: Literal["rsa2048", "rsa3072", "rsa4096", "ecdsaP256", "ecdsaP384"] = "rsa4096"
    sans: list[Fqdn] = Field(default_factory=list)
    validity_days: Annotated[int, Field(ge=1, le=3650)] = 365
    renew_days: Annotated[int, Field(ge=0)] = 30
    certificate: PemText | None = None
    intermediates: PemText | None = None
    ca: PemText | None = None
    key: Annotated[PemText | None, Secret()] = None

    @model_validator(mode="after")
    def _window_fits(self) -> Tls:
        # hashicorp/terraform-provider-tls issue 128: a window as long as the validity renews at every run.
        if self.renew_days >= self.validity_days:
            message = f"found renewDays {self.renew_days}, allowed is less than validityDays ({self.validity_days})"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _keys_fit_source(self) -> Tls:
        given = {key for key in _GIVEN_BY["provided"] if getattr(self, key) is not None}
        allowed = _GIVEN_BY[self.source]
        needed = {"certificate", "key"} if self.source == "provided" else {"certificate"} & allowed if given else set()
        useless = given - allowed
        if self.source == "provided" and self.key_type != "rsa4096":
            useless.add("keyType")
        if needed - given:
            message = f"found no {' and no '.join(sorted(needed - given))}, which source {self.source} needs"
            raise ValueError(message)
        if useless:
            shown = ", ".join(sorted(allowed)) or "none of certificate, intermediates, ca and key"
            message = f"found {' and '.join(sorted(useless))}, allowed with source {self.source}: {shown}"
            raise ValueError(message)
        return self

    @property
    def given(self) -> Given | None:
        """The certificate that the operator gives, if so."""
        if self.certificate is None:
            return None
        from msr_cache.x509.chain import Given

        return Given(self.certificate, self.intermediates, self.ca, self.key, self.renew_days)

    def words(self) -> dict[str, Any]:
        """Return what a person reads in a preview: no key, and no keys that are left at what they were without them."""
        always = self.model_dump(by_alias=True, include={"validity_days", "renew_days"})
        return always | self.model_dump(by_alias=True, exclude_defaults=True, exclude={"key"})


class LocalCa(_Section):
    """The operator's own CA, which signs the certificates of all caches whose tls.source is localCa."""

    certificate: PemText
    key: Annotated[PemText, Secret()]

    def given(self, window: int) -> Given:
        """Return it as what the checks take; `window` in days."""
        from msr_cache.x509.chain import Given

        return Given(self.certificate, key=self.key, window=window)


class ResourceAmount(_Section):
    """CPUs (cores) and memory (bytes with a unit) of one task."""

    cpus: Annotated[float, Field(gt=0, strict=False, allow_inf_nan=False)] | None = None
    memory: MemorySize | None = None


class Resources(_Section):
    """What one task may use at most, and what a node must have free for it."""

    limits: ResourceAmount = ResourceAmount()
    reservations: ResourceAmount = ResourceAmount()


class Update(_Section):
    """How the swarm replaces a task: `order`, and for how long (`monitor`) a failure of the new one rolls back."""

    order: Literal["start-first", "stop-first"] | None = None
    monitor: GoDuration = "5s"


class Register(_Section):
    """The cache's entry in MSR: which accounts pull through it, and whether an equal entry is taken over."""

    users: list[Account] = Field(default_factory=list)
    adopt: bool = False

    @field_validator("users")
    @classmethod
    def _users_once(cls, users: list[str]) -> list[str]:
        return _once(users, "account")


class Cache(_Section):
    """One cache; only `fqdn` and `nodes` have no default."""

    fqdn: Fqdn
    nodes: Annotated[list[NodeName], Field(min_length=1)]
    port: Port = 443
    publish_mode: Literal["ingress", "host"] = "ingress"
    replicas: Annotated[int, Field(ge=0)] = 1
    image: ImageName | None = None
    label: LabelKey | None = None
    blob_ttl: GoDuration = "24h"
    log_level: Literal["error", "warn", "info", "debug"] = "info"
    storage: dict[str, Any] = Field(default_factory=lambda: {"filesystem": {"rootdirectory": "/var/lib/registry"}})
    tls: Tls = Tls()
    upstreams: Annotated[list[HttpOrigin], Field(min_length=1)] | None = None
    resources: Resources = Resources()
    update: Update = Update()
    register_in_msr: Register | None = None
    verify: Literal["off", "tls", "pull"] | None = None
    registry_config: dict[str, Any] = Field(default_factory=dict)

    @field_validator("nodes")
    @classmethod
    def _nodes_once(cls, nodes: list[str]) -> list[str]:
        return _once(nodes, "node")

    @field_validator("register_in_msr", mode="before")
    @classmethod
    def _registration_form(cls, value: object) -> object:
        if isinstance(value, bool):
            return {} if value else None
        if isinstance(value, Mapping):
            return value
        message = f"found {value!r}, allowed is true, false, or a map with users and adopt"
        raise ValueError(message)

    @model_validator(mode="after")
    def _order_fits_mode(self) -> Cache:
        if self.publish_mode == "host" and self.update.order == "start-first":
            message = (
                "found update.order start-first with publishMode host, allowed is stop-first there: "
                "two tasks cannot share a node's port"
            )
            raise ValueError(message)
        return self

    @property
    def hosts(self) -> list[str]:
        """Whom the certificate must be for: the FQDN first, each once."""
        return list(dict.fromkeys([self.fqdn, *self.tls.sans]))

    @property
    def update_order(self) -> str:
        """Start-first where the port can be shared, so that a change is no outage."""
        return self.update.order or ("start-first" if self.publish_mode == "ingress" else "stop-first")

    @property
    def url(self) -> str:
        """The cache's URL as clients, http.host and MSR's registration know it."""
        host = f"[{self.fqdn}]" if ":" in self.fqdn else self.fqdn
        return f"https://{host}" + ("" if self.port == 443 else f":{self.port}")  # noqa: PLR2004 - https


class Settings(_Section):
    """A whole stack's config."""

    msr: Msr
    swarm: SwarmAccess
    local_ca: LocalCa | None = None
    caches: Annotated[dict[CacheName, Cache], Field(min_length=1)]

    def image_of(self, name: str) -> str:
        """The image that cache `name` runs, as the operator would write it."""
        return self.caches[name].image or self.msr.default_image

    def label_of(self, name: str) -> str:
        """The node label that places cache `name`."""
        return self.caches[name].label or f"{self.msr.generation}.cache"

    def upstreams_of(self, name: str) -> list[str]:
        """Whom cache `name` asks for what it does not have."""
        return self.caches[name].upstreams or [self.msr.url]

    def verify_of(self, name: str) -> str:
        """How far cache `name` is verified.

        Nobody is sent to a cache that MSR does not know, and the place that runs `pulumi up` need not reach it: off.
        One that MSR is about to send people to is looked at first, as they will reach it: tls.
        """
        cache = self.caches[name]
        return cache.verify or ("tls" if cache.register_in_msr else "off")

    def lacks_account(self) -> list[str]:
        """Caches that ask for an account at MSR where there is none."""
        wishes = {
            name: "registerInMsr" if cache.register_in_msr else "verify: pull"
            for name, cache in self.caches.items()
            if cache.register_in_msr or cache.verify == "pull"
        }
        return [
            f"msr-cache:msr.user: missing, and msr-cache:caches.{name} asks for {wish}: allowed is an admin's account, "
            "with its password or token set by pulumi config set --path --secret 'msr-cache:msr.password'"
            for name, wish in wishes.items()
            if not self.msr.user
        ]

    def conflicts(self) -> list[str]:
        """Two caches that cannot live beside each other on one swarm, or share an account of MSR."""
        found = []
        by_label: dict[str, list[str]] = defaultdict(list)
        by_port: dict[tuple[int, str], list[str]] = defaultdict(list)
        by_user: dict[str, list[str]] = defaultdict(list)
        for name, cache in self.caches.items():
            by_label[self.label_of(name)].append(name)
            for user in cache.register_in_msr.users if cache.register_in_msr else ():
                by_user[user].append(name)
            # An ingress port is open on every node of the swarm, a host port on the cache's own.
            for place in cache.nodes if cache.publish_mode == "host" else [_EVERY_NODE]:
                by_port[cache.port, place].append(name)
            if cache.publish_mode == "ingress":
                for other, neighbour in self.caches.items():
                    if neighbour.publish_mode == "host" and neighbour.port == cache.port:
                        by_port[cache.port, _EVERY_NODE].append(other)
        for label, names in by_label.items():
            found += [
                f"msr-cache:caches.{name}.label: found {label!r}, which places cache {names[0]} too: "
                f"allowed is a label of its own, such as {label}.{name}"
                for name in names[1:]
            ]
        for user, names in by_user.items():
            found += [
                f"msr-cache:caches.{name}.registerInMsr.users: found {user}, who pulls through cache {names[0]} too: "
                "allowed is each account at one cache"
                for name in names[1:]
            ]
        for (port, place), names in by_port.items():
            otherwise = "publishMode host for both, on different nodes" if place == _EVERY_NODE else "other nodes"
            found += [
                f"msr-cache:caches.{name}.port: found {port}, which cache {names[0]} publishes on {place} too: "
                f"allowed is a port of its own, or {otherwise}"
                for name in dict.fromkeys(names[1:])
            ]
        return found

    def unpublished(self) -> list[str]:
        """One line per cache that would listen where nothing is published."""
        found = []
        for name, cache in self.caches.items():
            http = as_map(cache.registry_config.get("http"))
            if "addr" in http and str(http["addr"]).rpartition(":")[2] != str(cache.port):
                where = f"msr-cache:caches.{name}.registryConfig.http.addr"
                published = f"port {cache.port}, which is published: `port` changes both"
                found.append(f"{where}: found {http['addr']!r}, allowed is one with {published}")
        return found

    def certificate_mistakes(self) -> list[str]:
        """Name what would keep clients from trusting a cache by the certificates that are given."""
        found = []
        for name, cache in self.caches.items():
            if given := cache.tls.given:
                from msr_cache.x509.chain import server_mistakes

                at = f"msr-cache:caches.{name}.tls"
                found += [f"{at}.{key}: {problem}" for key, problem in server_mistakes(given, cache.hosts)]
        if self.local_ca:
            from msr_cache.x509.chain import ca_mistakes

            given = self.local_ca.given(max((tls.renew_days for tls in self.signed_locally()), default=0))
            found += [f"msr-cache:localCa.{key}: {problem}" for key, problem in ca_mistakes(given)]
        return found

    def signed_locally(self) -> list[Tls]:
        """Return the certificates that the stack's CA signs."""
        return [cache.tls for cache in self.caches.values() if cache.tls.source == "localCa"]

    def warnings(self) -> list[str]:
        """What will work only by luck, or not for long."""
        found = []
        for name, cache in self.caches.items():
            if cache.tls.source == "csr" and not cache.tls.given:
                found.append(
                    f"msr-cache:caches.{name}.tls: the cache runs on a self-signed certificate of the same key, until "
                    "the stack output certificateRequestPem is signed and given as tls.certificate"
                )
            tag = self.image_of(name).partition("@")[0].rpartition(":")[2]
            if tag != self.msr.version and not tag.startswith(f"{self.msr.version}."):
                found.append(
                    f"msr-cache:caches.{name}.image: tag {tag} differs from msr.version {self.msr.version}. A cache of "
                    "another version cannot read MSR's answers ('error unmarshaling response from upstream') or panics "
                    "on its config.yml: run the tag that equals MSR's version, and set msr.version to it."
                )
        return found


def read(config: Mapping[str, str], project: str) -> dict[str, Any]:
    """Return what `config` (the engine's map of full keys to text or JSON) says below `project`, right or wrong."""
    raw: dict[str, Any] = {}
    for key, text in config.items():
        namespace, _, name = key.partition(":")
        if namespace != project:
            continue
        try:
            raw[name] = json.loads(text)
        except json.JSONDecodeError:
            raw[name] = text
    return raw


def judge(raw: Mapping[str, Any], project: str) -> tuple[Settings | None, list[str]]:
    """Return the settings, None where `raw` gives none, and a line for every mistake."""
    found = _in_the_open(raw, project)
    try:
        settings = Settings.model_validate(raw)
    except ValidationError as error:
        told = errors.lines(error, Settings, f"{project}:") + found
        broken = {each["loc"][1] for each in error.errors() if each["loc"][0] == "caches" and len(each["loc"]) > 1}
        others = {name: cache for name, cache in as_map(raw.get("caches")).items() if name not in broken}
        if broken and others:
            # A mistake in one cache hides none that two others make together.
            told += judge({**raw, "caches": others}, project)[1]
        return None, list(dict.fromkeys(told))
    told = settings.conflicts() + settings.unpublished() + settings.lacks_account() + settings.certificate_mistakes()
    return settings, told + found


def _in_the_open(raw: Mapping[str, Any], project: str) -> list[str]:
    """Name each private key and password that everybody who may read the stack's file may read."""
    sections = {
        f"caches.{name}.tls": as_map(as_map(cache).get("tls")) for name, cache in as_map(raw.get("caches")).items()
    }
    sections["localCa"] = as_map(raw.get("localCa"))
    found = [
        f"{project}:{at}.key: found a private key in plain text, allowed is the path of its file, or the key as a "
        f"secret: pulumi config set --path --secret {project}:{at}.key < FILE"
        for at, section in sections.items()
        if "PRIVATE KEY-----" in str(section.get("key")) and not is_config_secret(f"{project}:{at.partition('.')[0]}")
    ]
    if as_map(raw.get("msr")).keys() & {"password", "token"} and not is_config_secret(f"{project}:msr"):
        found.append(
            f"{project}:msr: password or token stands in clear in the stack's file, allowed is an encrypted one: "
            f"pulumi config set --path --secret '{project}:msr.password'"
        )
    return found


def as_map(value: object) -> dict[str, Any]:
    """Return what stands where a map is due; an empty one where it is none, which `judge` tells."""
    return value if isinstance(value, dict) else {}
