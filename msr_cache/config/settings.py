"""The keys of a stack's config, with their defaults and limits; docs/reference.md says the same to operators.

The keys are camelCase, as Pulumi's are, below `msr-cache:`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from graphlib import TopologicalSorter
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.functional_validators import AfterValidator, BeforeValidator

from msr_cache.config import errors
from msr_cache.config.errors import mismatch
from msr_cache.config.field_types import (
    GoDuration,
    HttpOrigin,
    HttpsOrigin,
    PemText,
    Port,
    ascii_only,
    holds_credentials,
    http_origin,
    is_host,
    secret_text,
    swarm_host,
)
from msr_cache.x509.pem import Given, ca_problem

LONGEST_CACHE_NAME = 32
"""Swarm limits the names of secrets to 64 and of services to 63 characters; the program adds up to 30 to this one."""
_IMAGES = {"dtr": "mirantis/dtr-content-cache", "msr": "registry.mirantis.com/msr/msr-content-cache"}
_LEVELS = 2
"""DTR 2.2's documentation on chained caches: more may cost more than they save."""
_SHIFTS = {"k": 10, "m": 20, "g": 30}
DEFAULT_STORAGE = {"filesystem": {"rootdirectory": "/var/lib/registry"}}


def _matching(pattern: str, expected: str) -> BeforeValidator:
    def check(value: object) -> object:
        # YAML reads an unquoted 2.9 as a number.
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(mismatch(value, expected))
        return value

    return BeforeValidator(check)


def _host(value: str) -> str:
    if not is_host(value):
        raise ValueError(mismatch(value, "a host name or IP address alone: no scheme, port, path or blank"))
    return value


def memory_bytes(text: str) -> int:
    """Return the bytes of a number with a unit, such as 512m."""
    return int(text[:-1]) << _SHIFTS[text[-1]]


def _memory(value: str) -> str:
    # swarmkit, controlapi/service.go, refuses less; more is no machine's.
    if not 4 << 20 <= memory_bytes(value) <= 1 << 50:
        raise ValueError(mismatch(value, "4m to 1048576g"))
    return value


Fqdn = Annotated[str, AfterValidator(_host)]
NodeName = Annotated[str, _matching(r"[A-Za-z0-9][A-Za-z0-9._-]*", "a node's host name, as `docker node ls` shows it")]
CacheName = Annotated[
    str,
    _matching(
        rf"[a-z0-9]([a-z0-9-]{{0,{LONGEST_CACHE_NAME - 2}}}[a-z0-9])?",
        f"a-z, 0-9 and - inside, {LONGEST_CACHE_NAME} characters at most",
    ),
]
# Docker image reference grammar (distribution/reference): [host[:port]/]path[:tag][@digest].
ImageName = Annotated[
    str,
    _matching(
        r"([A-Za-z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
        r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})",
        "an image with a tag or digest, such as mirantis/dtr-content-cache:2.9.0",
    ),
]
RegistryHost = Annotated[
    str, _matching(r"[A-Za-z0-9.-]+(:[0-9]+)?", "host[:port] as an image's name begins with it, or docker.io")
]
LabelKey = Annotated[
    str, _matching(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", "a node label's name, such as dtr.cache")
]
MemorySize = Annotated[
    str,
    AfterValidator(_memory),
    _matching(r"[1-9][0-9]{0,9}[kmg]", "a number and a unit (k, m, g), such as 512m"),
]
AbsolutePath = Annotated[str, _matching(r"/[^\n]*", "an absolute path, such as /srv/msr-cache")]
NfsOptions = Annotated[
    str,
    _matching(r"(?!(\S*,)?addr=)\S+", "mount options with no blank and no addr, which is `server`: nfsvers=4.1,hard"),
]
Password = Annotated[SecretStr, BeforeValidator(secret_text), Field(strict=False)]
SwarmHost = Annotated[str, BeforeValidator(swarm_host)]
ContextName = Annotated[str, _matching(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", "a name that `docker context ls` shows")]
# The first digit is a letter: the engine gives all values as text, and `read` takes digits for a number.
StateId = Annotated[
    str,
    _matching(r"[a-f][0-9a-f]{11}", "a state's id: 12 lower-case hexadecimal digits, the first a letter"),
]
# The registry takes REGISTRY_HTTP_ADDR for http.addr, whatever config.yml says (distribution, configuration/parser.go).
Variable = Annotated[
    str, _matching(r"(?!REGISTRY_)[A-Za-z_][A-Za-z0-9_]*", "a variable's name; for REGISTRY_..., use registryConfig")
]
Account = Annotated[str, _matching(r"[^\s:/]+", "the name of an MSR account, with no blank, colon or slash")]


def _unique(what: str) -> AfterValidator:
    def check(names: list[str]) -> list[str]:
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"found {', '.join(repeated)} more than once, expected each {what} once")
        return names

    return AfterValidator(check)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, frozen=True, strict=True)


class _OneKey(_Section):
    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        values = self.model_dump(by_alias=True)
        found = [key for key, value in values.items() if value is not None]
        if len(found) != 1:
            raise ValueError(errors.exactly_one(found, values))
        return self


class GivenCa(_OneKey):
    """Trust in MSR, or in another next hop, from what you know of its CA: the certificate itself, or pins of it."""

    sha256: list[str] | None = None
    pem: str | None = None

    @field_validator("sha256", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        pins = value if isinstance(value, list) and value else [value]
        for pin in pins:
            if not (isinstance(pin, str) and re.fullmatch(r"(sha256:)?[0-9a-f]{64}", pin)):
                expected = (
                    "64 lower-case hexadecimal digits without colons, a certificate's SHA-256; or sha256: and"
                    " those of its public key; or a list of these"
                )
                hint = "; put it in quotes: YAML reads it as a number" if type(pin) in (int, float) else ""
                raise ValueError(mismatch(pin, expected) + hint)
        return pins

    @field_validator("pem")
    @classmethod
    def _is_ca(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None and (problem := ca_problem(text, of_hop=bool(info.context))):
            raise ValueError(problem)
        return text and ascii_only(text)


def _ca_form(*words: str, of_hop: bool = False) -> BeforeValidator:
    def check(ca: object) -> object:
        if isinstance(ca, Mapping):
            return GivenCa.model_validate(ca, context=of_hop)
        if ca not in words:
            raise ValueError(mismatch(ca, f"{', '.join(words)}, or a map with sha256 or pem"))
        return ca

    return BeforeValidator(check)


class Msr(_Section):
    """Where MSR is, its version, why the cache trusts it, and the admin's account for its API."""

    url: HttpsOrigin
    version: Annotated[
        str, _matching(r"[23](\.[0-9]{1,3}){1,2}", 'MSR\'s version in quotes, such as "2.9" or "2.9.4" (2.x or 3.x)')
    ] = "2.9"
    ca: Annotated[Literal["fetch", "system"] | GivenCa, _ca_form("fetch", "system")] = "fetch"
    user: Account | None = None
    password: Password | None = None
    token: Password | None = None

    @model_validator(mode="after")
    def _user_with_one_secret(self) -> Msr:
        found = [name for name in ("user", "password", "token") if getattr(self, name) is not None]
        if found and not (self.user and len(found) == 2):  # noqa: PLR2004 - user, and password or token
            raise ValueError(f"found {' and '.join(found)}; set user with exactly one of password and token, or none")
        return self

    @property
    def generation(self) -> str:
        """The prefix of all names: dtr up to MSR 2.x, then msr (MSR 3.1 documentation: msr.cache, msr.cert.pem)."""
        return "dtr" if self.version.startswith("2.") else "msr"

    @property
    def default_image(self) -> str:
        """The cache's image for this version: its tag equals MSR's own (Docker KB: DTR content cache issues)."""
        tag = self.version if self.version.count(".") == 2 else f"{self.version}.0"  # noqa: PLR2004 - major.minor.patch
        return f"{_IMAGES[self.generation]}:{tag}"


class SwarmAccess(_OneKey):
    """How to reach a manager of the swarm: exactly one of the three."""

    host: SwarmHost | None = None
    context: ContextName | None = None
    client_bundle: Annotated[str, Field(min_length=1)] | None = None


TlsSource = Literal["selfSigned", "localCa", "provided", "csr"]
_PEM_KEYS: dict[TlsSource, set[str]] = {
    "selfSigned": set(),
    "localCa": set(),
    "provided": {"certificate", "intermediates", "ca", "key"},
    "csr": {"certificate", "intermediates", "ca"},
}
"""What you may set with each source."""


class Tls(_Section):
    """The cache's own certificate; the stack renews one that it creates within `renewDays` of its expiry."""

    source: TlsSource = "selfSigned"
    key_type: Literal["rsa2048", "rsa3072", "rsa4096", "ecdsaP256", "ecdsaP384"] = "rsa4096"
    sans: list[Fqdn] = Field(default_factory=list)
    validity_days: Annotated[int, Field(ge=1, le=3650)] = 365
    renew_days: Annotated[int, Field(ge=0)] = 30
    certificate: PemText | None = None
    intermediates: PemText | None = None
    ca: PemText | None = None
    key: PemText | None = None

    @model_validator(mode="after")
    def _renewal_fits_validity(self) -> Tls:
        # hashicorp/terraform-provider-tls issue 128: a window as long as the validity renews at every run.
        if self.renew_days >= self.validity_days:
            raise ValueError(
                f"found renewDays {self.renew_days}, expected less than validityDays ({self.validity_days})"
            )
        return self

    @model_validator(mode="after")
    def _keys_fit_source(self) -> Tls:
        found = {key for key in _PEM_KEYS["provided"] if getattr(self, key) is not None}
        allowed = _PEM_KEYS[self.source]
        needed = {"certificate", "key"} if self.source == "provided" else {"certificate"} & allowed if found else set()
        if missing := needed - found:
            raise ValueError(f"found no {' and no '.join(sorted(missing))}, which source {self.source} needs")
        useless = found - allowed
        if self.source == "provided" and self.key_type != "rsa4096":
            useless.add("keyType")
        if useless:
            expected = f"only {', '.join(sorted(allowed))}" if allowed else "no certificate, intermediates, ca or key"
            raise ValueError(f"found {' and '.join(sorted(useless))}, expected {expected} with source {self.source}")
        return self

    @property
    def given(self) -> Given | None:
        """The certificate that you give, if any."""
        if self.certificate is None:
            return None
        return Given(self.certificate, self.intermediates, self.ca, self.key, self.renew_days)

    def preview_fields(self) -> dict[str, Any]:
        """Return what a preview shows: no PEM text, and no defaults but of what the stack makes."""
        made = {"key_type"} if self.source != "provided" else set()
        always = self.model_dump(by_alias=True, include={"source", "validity_days", "renew_days"} | made)
        return always | self.model_dump(by_alias=True, exclude_defaults=True, exclude=_PEM_KEYS["provided"])


class LocalCa(_Section):
    """Your own CA, which signs the certificates of all caches with tls.source localCa."""

    certificate: PemText
    key: PemText

    def given(self, window: int) -> Given:
        """Return it in the form that the checks take; `window` in days."""
        return Given(self.certificate, key=self.key, window=window)


class ResourceAmount(_Section):
    """CPUs (cores) and memory (bytes with a unit) of one task."""

    # At least what swarmkit takes (controlapi/service.go), at most what Linux does (NR_CPUS).
    cpus: Annotated[float, Field(ge=0.001, le=8192, strict=False, allow_inf_nan=False)] | None = None
    memory: MemorySize | None = None


class Resources(_Section):
    """What one task may use at most, and what a node must have free for it."""

    limits: ResourceAmount = ResourceAmount()
    reservations: ResourceAmount = ResourceAmount()


class Update(_Section):
    """How the swarm replaces a task: `order`, and for how long (`monitor`) a failure of the new one rolls back."""

    order: Literal["start-first", "stop-first"] | None = None
    monitor: GoDuration = "5s"


class Nfs(_Section):
    """A folder that an NFS server exports to every node."""

    server: Fqdn
    path: AbsolutePath
    options: NfsOptions = "nfsvers=4"


class Driver(_Section):
    """A volume driver of the engine, with its own options."""

    name: Annotated[str, Field(min_length=1)]
    options: dict[str, str] = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _no_password(cls, options: dict[str, str]) -> dict[str, str]:
        if any(re.search(r"(^|,)pass(word)?=", f"{key}={value},{value}") for key, value in options.items()):
            raise ValueError(
                "found a password, which everyone who may inspect services can read; mount the share on each node "
                "yourself, and set `bind` in place of `driver`"
            )
        return options


class Volume(_OneKey):
    """Where a cache's blobs outlive its tasks: exactly one of the three."""

    nfs: Nfs | None = None
    bind: AbsolutePath | None = None
    driver: Driver | None = None


class Register(_Section):
    """The cache's entry in MSR: which accounts pull through it, and whether to adopt an existing entry."""

    users: Annotated[list[Account], _unique("account")] = Field(default_factory=list)
    adopt: bool = False


class Upstream(_Section):
    """Where a cache fetches blobs: another cache of the stack, or a URL; a URL as text is that of MSR's own host."""

    cache: CacheName | None = None
    url: HttpOrigin | None = None
    ca: Annotated[Literal["system"] | GivenCa, _ca_form("system", of_hop=True)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _url_alone(cls, value: object) -> object:
        if isinstance(value, str):
            return {"url": http_origin(value)}
        if not isinstance(value, Mapping):
            raise ValueError(mismatch(value, "a URL, or a map with cache, or with url and ca"))  # noqa: TRY004 - or pydantic raises it
        return value

    @model_validator(mode="after")
    def _one_of_two(self) -> Upstream:
        found = [key for key in ("cache", "url") if getattr(self, key)]
        if len(found) != 1:
            raise ValueError(errors.exactly_one(found, ("cache", "url")))
        if self.ca and not self.needs_ca:
            raise ValueError("found ca, expected it with an https url alone")
        return self

    @property
    def needs_ca(self) -> bool:
        """Whether there must be a reason to trust it that is not the stack's own."""
        return (self.url or "").startswith("https:")


class Cache(_Section):
    """One cache; only `fqdn` and `nodes` have no default."""

    fqdn: Fqdn
    nodes: Annotated[list[NodeName], Field(min_length=1), _unique("node")]
    port: Port = 443
    external_port: Port | None = None
    publish_mode: Literal["ingress", "host"] = "ingress"
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    max_replicas_per_node: Annotated[int, Field(ge=1, le=1000)] | None = None
    image: ImageName | None = None
    resolve_image: bool = True
    label: LabelKey | None = None
    blob_ttl: GoDuration = "24h"
    log_level: Literal["error", "warn", "info", "debug"] = "info"
    storage: dict[str, Any] = Field(default_factory=lambda: deepcopy(DEFAULT_STORAGE))
    volume: Volume | None = None
    environment: dict[Variable, str] = Field(default_factory=dict)
    tls: Tls = Tls()
    upstreams: Annotated[list[Upstream], Field(min_length=1)] | None = None
    resources: Resources = Resources()
    update: Update = Update()
    register_in_msr: Register | None = None
    verify: Literal["off", "tls", "pull"] | None = None
    registry_config: dict[str, Any] = Field(default_factory=dict)
    adopt_stack: bool = False

    @field_validator("register_in_msr", mode="before")
    @classmethod
    def _registration_form(cls, value: object) -> object:
        if isinstance(value, bool):
            return {} if value else None
        if isinstance(value, Mapping):
            return value
        raise ValueError(mismatch(value, "true, false, or a map with users and adopt"))

    @model_validator(mode="after")
    def _order_fits_mode(self) -> Cache:
        if self.publish_mode == "host" and self.update.order == "start-first":
            found = "update.order start-first with publishMode host"
            raise ValueError(f"found {found}, expected stop-first: two tasks can't share a node's port")
        if self.replicas == self.most_replicas and self.update.order == "start-first":
            found = f"update.order start-first with {self.replicas} replicas, as many as maxReplicasPerNode allows"
            raise ValueError(f"found {found}, expected stop-first: no node has room for one more task")
        return self

    @property
    def most_replicas(self) -> int | None:
        """How many tasks find room on the nodes; None if there is no limit."""
        each = 1 if self.publish_mode == "host" else self.max_replicas_per_node
        return each and each * len(self.nodes)

    @property
    def hosts(self) -> list[str]:
        """The hosts that the certificate must be for: the FQDN first, each once."""
        return list(dict.fromkeys([self.fqdn, *self.tls.sans]))

    @property
    def update_order(self) -> str:
        """Start-first where two tasks can share the port and a node has room, so that a change causes no outage."""
        fits = self.publish_mode == "ingress" and self.replicas != self.most_replicas
        return self.update.order or ("start-first" if fits else "stop-first")

    @property
    def url(self) -> str:
        """The cache's URL as clients, http.host and MSR's registration know it."""
        host = f"[{self.fqdn}]" if ":" in self.fqdn else self.fqdn
        port = self.external_port or self.port
        return f"https://{host}" + ("" if port == 443 else f":{port}")  # noqa: PLR2004 - https


class ImageRegistry(_Section):
    """Who may pull from a registry of images: the login itself, or the file where `docker login` has put it."""

    username: Annotated[str, Field(min_length=1)] | None = None
    password: Password | None = None
    config_file: Annotated[str, Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def _one_login(self) -> ImageRegistry:
        found = [key for key, value in self.model_dump(by_alias=True).items() if value is not None]
        if found not in (["username", "password"], ["configFile"]):
            raise ValueError(f"found {' and '.join(found) or 'none'}; set username and password, or configFile")
        return self


class Settings(_Section):
    """A whole stack's config."""

    msr: Msr
    swarm: SwarmAccess
    state_id: StateId | None = None
    local_ca: LocalCa | None = None
    image_registries: dict[RegistryHost, ImageRegistry] = Field(default_factory=dict)
    # Merged under each cache before the settings are read; see cache_defaults.
    cache_defaults: dict[str, Any] = Field(default_factory=dict)
    caches: Annotated[dict[CacheName, Cache], Field(min_length=1)]

    def image_of(self, name: str) -> str:
        """The image that cache `name` runs, as the operator would write it."""
        return self.caches[name].image or self.msr.default_image

    def label_of(self, name: str) -> str:
        """The node label that places cache `name`."""
        return self.caches[name].label or f"{self.msr.generation}.cache"

    def next_hops(self, name: str) -> list[Upstream]:
        """Where cache `name` fetches what it does not have."""
        return self.caches[name].upstreams or [Upstream(url=self.msr.url)]

    def upstreams_of(self, name: str) -> list[str]:
        """The URLs of the next hops."""
        return [self.caches[hop.cache].url if hop.cache else str(hop.url) for hop in self.next_hops(name)]

    def upstream_caches(self, name: str) -> list[str]:
        """Which of the next hops are caches of this stack."""
        return [hop.cache for hop in self.next_hops(name) if hop.cache and hop.cache in self.caches]

    def upstreams_first(self) -> list[str]:
        """Return the names of all caches, those that others fetch from before these; CycleError if there is no end."""
        return [*TopologicalSorter({name: self.upstream_caches(name) for name in self.caches}).static_order()]

    def _level(self, name: str) -> int:
        return 1 + max(map(self._level, self.upstream_caches(name)), default=0)

    def verify_of(self, name: str) -> str:
        """How far cache `name` is verified.

        MSR sends nobody to a cache that it does not know, and the machine that runs `pulumi up` may not reach it: off.
        Before MSR sends clients to a cache, the program connects to it as they will: tls.
        """
        cache = self.caches[name]
        return cache.verify or ("tls" if cache.register_in_msr else "off")

    def signed_locally(self) -> list[Cache]:
        """Return the caches whose certificates the stack's CA signs."""
        return [cache for cache in self.caches.values() if cache.tls.source == "localCa"]

    def warnings(self) -> Iterator[str]:
        """Yield what may not work, or not for long."""
        for name, cache in self.caches.items():
            if cache.tls.source == "csr" and not cache.tls.given:
                yield (
                    f"msr-cache:caches.{name}.tls: the cache runs on a self-signed certificate of the same key, until "
                    "you have the stack output certificateRequestPem signed, and set the result as tls.certificate"
                )
            if credentials := [key for key, value in cache.environment.items() if holds_credentials(key, value)]:
                yield (
                    f"msr-cache:caches.{name}.environment: {' and '.join(credentials)}: everybody who can run "
                    "docker service inspect in the swarm can read these credentials"
                )
            if (level := self._level(name)) > _LEVELS:
                yield (
                    f"msr-cache:caches.{name}.upstreams: this cache is {level} caches away from MSR. Each adds its "
                    f"round trips to the first pull of a layer, so {_LEVELS} at most are advised"
                )
            if not cache.resolve_image:
                yield (
                    f"msr-cache:caches.{name}.resolveImage: image {self.image_of(name)} is used as written. Each node "
                    "runs what it has under this name, so load the same image into all of them."
                )
            tag = self.image_of(name).partition("@")[0].rpartition(":")[2]
            if tag != self.msr.version and not tag.startswith(f"{self.msr.version}."):
                yield (
                    f"msr-cache:caches.{name}.image: tag {tag} differs from msr.version {self.msr.version}. A cache of "
                    "another version can't read MSR's answers ('error unmarshaling response from upstream') or panics "
                    "on its config.yml. Set the tag that equals MSR's version, and msr.version to the same."
                )
