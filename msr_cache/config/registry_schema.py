"""What config.yml may say: distribution 2.8's keys and `downstream`'s. The registry itself ignores unknown keys.

Facts are from distribution's source at v2.8.3 (configuration/configuration.go where nothing else is said), which knows
all of v2.7.1's keys. Null is a value only for a storage driver: in registryConfig it removes a key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import GenericAlias
from typing import Annotated, Any, Literal, NoReturn, Union, get_origin

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, create_model, model_validator
from pydantic.functional_validators import AfterValidator
from pydantic_core import InitErrorDetails

from msr_cache.config import errors
from msr_cache.config.field_types import GoDuration, HttpOrigin, Secret

MASK = "[secret]"
_MIB = 1024 * 1024


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, defer_build=True)


def _keys(rule: Callable[[BaseModel], None] | None = None, /, **kinds: object) -> type[BaseModel]:
    """Return the model of a map with these keys, each optional unless it is `_needed`, and a rule for them together."""

    def checked(section: BaseModel) -> BaseModel:
        if rule:
            rule(section)
        return section

    fields: dict[str, Any] = {key: kind if isinstance(kind, tuple) else (kind, None) for key, kind in kinds.items()}
    rules: dict[str, Any] = {"checked": model_validator(mode="after")(checked)}
    return create_model("Section", __base__=_Section, __validators__=rules, **fields)


def _of(kind: object, *keys: str) -> dict[str, object]:
    return dict.fromkeys(keys, kind)


def _needed(kind: object) -> tuple[object, object]:
    return kind, ...


def _list(kind: object) -> GenericAlias:
    return GenericAlias(list, (kind,))


def _given(section: object, *keys: str) -> object:
    for key in keys:
        section = getattr(section, key, None)
    return section


def _refuse(message: str, *at: str) -> NoReturn:
    """Raise an error that names the key to change below the section whose rule this is."""
    details = InitErrorDetails(type="value_error", loc=at, input=None, ctx={"error": ValueError(message)})
    raise ValidationError.from_exception_data("config.yml", [details])


def _one_of(*allowed: str) -> Callable[[BaseModel], None]:
    def rule(section: BaseModel) -> None:
        # A driver without parameters is a key without a value.
        found = sorted(section.model_fields_set & set(allowed))
        if len(found) != 1:
            _refuse(f"found {' and '.join(found) or 'none'}, allowed is exactly one of {', '.join(sorted(allowed))}")

    return rule


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        _refuse(f"found {path!r}, allowed is an absolute path in the container")
    return path


_Text = Annotated[str, Field(min_length=1)]
_SecretText = Annotated[str, Secret()]
_NeededText = _needed(_Text)
_NeededSecret = _needed(Annotated[_Text, Secret()])
_Headers = dict[str, list[str]]
_SentHeaders = Annotated[_Headers, Secret()]
"""What the registry sends may be an Authorization."""
_Level = Literal["error", "warn", "info", "debug"]
_HookLevel = Literal["panic", "fatal", "error", "warn", "warning", "info", "debug", "trace"]
_Enabled = _keys(enabled=bool)
_DescriptorCache = Literal["inmemory", "redis"]
_S3Chunk = Annotated[int, Field(ge=5 * _MIB, le=5 * 1024 * _MIB)]
_S3Acl = Annotated[
    str,
    Field(
        pattern="^(private|public-read|public-read-write|authenticated-read|aws-exec-read|bucket-owner-read"
        "|bucket-owner-full-control)$"
    ),
]

# registry/storage/driver/*: what each driver's FromParameters reads.
_DRIVERS = {
    "filesystem": _keys(rootdirectory=str, maxthreads=int) | None,
    "azure": _keys(**_of(_NeededText, "accountname", "container"), accountkey=_NeededSecret, realm=str),
    "gcs": _keys(
        bucket=_NeededText,
        **_of(str, "keyfile", "rootdirectory"),
        # A service account's key file as a map (Google Cloud IAM: "Create and delete service account keys").
        credentials=Annotated[
            _keys(
                **_of(str, "type", "project_id", "private_key_id", "private_key", "client_email", "client_id"),
                **_of(str, "auth_uri", "token_uri", "auth_provider_x509_cert_url", "client_x509_cert_url"),
                universe_domain=str,
            ),
            Secret(),
        ],
        chunksize=Annotated[int, Field(gt=0, multiple_of=_MIB // 4)],
        maxconcurrency=int,
    ),
    # Without keys the node's IAM role counts.
    "s3": _keys(
        **_of(_SecretText, "accesskey", "secretkey"),
        **_of(_NeededText, "region", "bucket"),
        **_of(str, "regionendpoint", "keyid", "rootdirectory", "useragent"),
        **_of(bool, "encrypt", "secure", "skipverify", "v4auth"),
        **_of(_S3Chunk, "chunksize", "multipartcopychunksize"),
        multipartcopymaxconcurrency=Annotated[int, Field(ge=1)],
        multipartcopythresholdsize=Annotated[int, Field(ge=0, le=5 * 1024 * _MIB)],
        storageclass=Annotated[str, Field(pattern="(?i)^(NONE|STANDARD|REDUCED_REDUNDANCY)$")],
        objectacl=_S3Acl,
    ),
    # Its folder is prefix: rootdirectory, which distribution's documentation has, is not read.
    "swift": _keys(
        **_of(_NeededText, "username", "authurl", "container"),
        password=_NeededSecret,
        **_of(_SecretText, "accesskey", "secretkey"),
        **_of(str, "tenant", "tenantid", "domain", "domainid", "tenantdomain", "tenantdomainid", "trustid"),
        **_of(str, "region", "prefix", "endpointtype"),
        **_of(bool, "insecureskipverify", "tempurlcontainerkey"),
        authversion=int,
        chunksize=Annotated[int, Field(ge=_MIB)],
        tempurlmethods=list[str],
    ),
    "oss": _keys(
        **_of(_NeededSecret, "accesskeyid", "accesskeysecret"),
        **_of(_NeededText, "region", "bucket"),
        **_of(bool, "internal", "encrypt", "secure"),
        **_of(str, "rootdirectory", "endpoint"),
        chunksize=Annotated[int, Field(ge=5 * _MIB)],
    ),
    "inmemory": _keys() | None,
}


def _whole(purging: BaseModel) -> None:
    """Given at all, it replaces the defaults, and a missing key stops the registry (registry/handlers/app.go)."""
    absent = [key for key in ("age", "interval", "dryrun") if _given(purging, key) is None]
    if absent and _given(purging, "enabled") is not False:
        _refuse(f"found no {', '.join(absent)}, allowed is age, interval and dryrun together, or enabled: false")


_STORAGE = _keys(
    _one_of(*_DRIVERS),
    **_DRIVERS,
    delete=_Enabled,
    redirect=_keys(disable=_needed(bool)),
    # registry/handlers/app.go; layerinfo is blobdescriptor's old name.
    cache=_keys(blobdescriptor=_DescriptorCache, layerinfo=_DescriptorCache),
    maintenance=_keys(
        readonly=_Enabled,
        uploadpurging=_keys(_whole, enabled=bool, age=GoDuration, interval=GoDuration, dryrun=bool),
    ),
)

# registry/auth/*: none of it is secret, path and rootcertbundle are files.
_AUTH = _keys(
    _one_of("silly", "htpasswd", "token"),
    silly=_keys(**_of(_needed(str), "realm", "service")),
    htpasswd=_keys(**_of(_needed(str), "realm", "path")),
    token=_keys(**_of(_needed(str), "realm", "issuer", "service", "rootcertbundle"), autoredirect=bool),
)

_OPTIONS = {
    # MSR cache configuration reference.
    "downstream": _keys(
        upstreams=_needed(Annotated[list[HttpOrigin], Field(min_length=1)]),
        cas=list[Annotated[str, AfterValidator(_absolute)]],
        blobttl=GoDuration,
    ),
    # registry/storage/driver/middleware/cloudfront: updatefrenquency is spelt so there.
    "cloudfront": _keys(
        **_of(_needed(str), "baseurl", "privatekey", "keypairid"),
        **_of(GoDuration, "duration", "updatefrenquency"),
        **_of(str, "iprangesurl", "ipfilteredby", "awsregion"),
    ),
    "redirect": _keys(baseurl=_needed(HttpOrigin)),
}
# Of any other middleware nothing is known: what it is given may be secret.
_ANY_OPTIONS = Annotated[dict[str, Any], Secret()]


def _kind(entry: object) -> str:
    name = entry.get("name") if isinstance(entry, Mapping) else None
    return name if isinstance(name, str) and name in _OPTIONS else "other"


def _tagged(tag: str, options: object) -> object:
    return Annotated[_keys(name=_needed(str), disabled=bool, options=options), Tag(tag)]


_BRANCHES = [_tagged(name, _needed(options)) for name, options in _OPTIONS.items()] + [_tagged("other", _ANY_OPTIONS)]
_ENTRY: object = Annotated[Union[*_BRANCHES], Discriminator(_kind)]


def _one_downstream(middleware: BaseModel) -> None:
    entries: Any = _given(middleware, "registry")
    names = [str(_given(entry, "name")) for entry in entries]
    if names.count("downstream") != 1:
        found = " and ".join(names) or "none"
        _refuse(f"found {found}, allowed is exactly one named downstream, which makes it a cache", "registry")


def _fits_together(config: BaseModel) -> None:
    """MSR cache configuration reference (blobttl), registry/handlers/app.go (redis)."""
    entries: Any = _given(config, "middleware", "registry")
    if any(_given(entry, "options", "blobttl") for entry in entries):
        deletes = _given(config, "storage", "delete", "enabled")
        if not deletes:
            _refuse(f"found {deletes}, allowed is true, as blobttl is set", "storage", "delete", "enabled")
    if _given(config, "storage", "cache", "blobdescriptor") == "redis" and not _given(config, "redis", "addr"):
        _refuse("missing, and storage.cache.blobdescriptor is redis", "redis", "addr")


def _one_source(tls: BaseModel) -> None:
    """With both the registry does not start (registry/registry.go)."""
    if _given(tls, "certificate") and _given(tls, "letsencrypt", "cachefile"):
        _refuse("found certificate and letsencrypt.cachefile, allowed is one of them: null removes the other")


def _check(**kinds: object) -> GenericAlias:
    return _list(_keys(interval=GoDuration, threshold=int, **kinds))


def _version(version: object) -> object:
    if str(version) != "0.1":
        _refuse(f"found {version!r}, allowed is 0.1")
    return version


RegistryConfig = _keys(
    _fits_together,
    version=_needed(Annotated[Any, AfterValidator(_version)]),
    log=_keys(
        accesslog=_keys(disabled=bool),
        level=_Level,
        formatter=Literal["text", "json", "logstash"],
        fields=dict[str, Any],
        # registry/handlers/app.go and hooks.go: another type is no hook, an unknown level means panic.
        hooks=_list(
            _keys(
                disabled=bool,
                type=_needed(Literal["mail"]),
                levels=list[_HookLevel],
                options=_keys(
                    smtp=_keys(**_of(str, "addr", "username"), password=_SecretText, insecure=bool),
                    **_of(str, "from"),
                    to=list[str],
                ),
            )
        ),
    ),
    loglevel=_Level,
    storage=_needed(_STORAGE),
    auth=_AUTH,
    middleware=_needed(
        _keys(_one_downstream, registry=_needed(_list(_ENTRY)), repository=_list(_ENTRY), storage=_list(_ENTRY))
    ),
    reporting=_keys(
        bugsnag=_keys(apikey=_SecretText, releasestage=str, endpoint=str),
        newrelic=_keys(licensekey=_SecretText, name=str, verbose=bool),
    ),
    http=_keys(
        **_of(str, "addr", "prefix"),
        net=Literal["tcp", "unix"],
        host=HttpOrigin,
        secret=_SecretText,
        relativeurls=bool,
        draintimeout=GoDuration,
        tls=_keys(
            _one_source,
            **_of(str, "certificate", "key"),
            clientcas=list[str],
            minimumtls=Literal["tls1.0", "tls1.1", "tls1.2", "tls1.3"],
            ciphersuites=list[Annotated[str, Field(pattern="^TLS_[A-Z0-9_]+$")]],
            letsencrypt=_keys(cachefile=str, email=str, hosts=list[str]),
        ),
        headers=_Headers,
        debug=_keys(addr=str, prometheus=_keys(enabled=bool, path=str)),
        http2=_keys(disabled=bool),
    ),
    notifications=_keys(
        events=_keys(includereferences=bool),
        endpoints=_list(
            _keys(
                **_of(str, "name", "url"),
                disabled=bool,
                headers=_SentHeaders,
                **_of(GoDuration, "timeout", "backoff"),
                threshold=int,
                ignoredmediatypes=list[str],
                ignore=_keys(**_of(list[str], "mediatypes", "actions")),
            )
        ),
    ),
    redis=_keys(
        addr=str,
        password=_SecretText,
        db=int,
        **_of(GoDuration, "dialtimeout", "readtimeout", "writetimeout"),
        pool=_keys(**_of(int, "maxidle", "maxactive"), idletimeout=GoDuration),
    ),
    health=_keys(
        storagedriver=_keys(enabled=bool, interval=GoDuration, threshold=int),
        file=_check(file=str),
        http=_check(timeout=GoDuration, statuscode=int, uri=str, headers=_SentHeaders),
        tcp=_check(timeout=GoDuration, addr=str),
    ),
    catalog=_keys(maxentries=int),
    proxy=_keys(remoteurl=str, username=str, password=_SecretText),
    compatibility=_keys(schema1=_keys(signingkeyfile=str, enabled=bool)),
    validation=_keys(
        **_of(bool, "enabled", "disabled"), manifests=_keys(urls=_keys(**_of(list[str], "allow", "deny")))
    ),
    policy=_keys(repository=_keys(classes=list[str])),
)
"""The model of a cache's config.yml (distribution's Configuration; MSR cache configuration reference)."""


def mask_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of `config`, valid or not, with MASK for the value of every key that is marked Secret above."""
    return _masked_map(config, RegistryConfig)


def _masked_map(value: Mapping[str, Any], place: object) -> dict[str, Any]:
    return {
        key: MASK if errors.is_secret(place, key) else _masked(inner, errors.inside(place, key))
        for key, inner in value.items()
    }


def _masked(value: object, place: object) -> object:
    # Read alike whether a list is due or one of its items: what is not valid hides its secrets too.
    item = errors.inside(place, 0) if get_origin(place) is list else place
    if isinstance(value, list):
        return [_masked(inner, item) for inner in value]
    if isinstance(value, Mapping):
        return _masked_map(value, errors.inside(item, _kind(value)) if item == _ENTRY else item)
    return value
