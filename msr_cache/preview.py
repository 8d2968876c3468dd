"""What a preview says of a cache: its settings in words, and what a change of them does to clients."""

from collections.abc import Iterator, Mapping
from typing import Any

import pulumi

from msr_cache.certificate import Certificate
from msr_cache.config import registry_config
from msr_cache.config.registry_schema import mask_secrets
from msr_cache.config.settings import Settings
from msr_cache.resources.cache_settings import CacheSettings
from msr_cache.scope import Scope
from msr_cache.service import environment
from msr_cache.x509 import pem

Facts = dict[str, Any]
"""Flat: `tls.sans` and `configYaml.http.addr` are keys, a list of plain values is one text."""

_RESTARTS = {
    "certificate",
    "configYaml",
    "environment",
    "image",
    "label",
    "msrCaSha256",
    "port",
    "publishMode",
    "resolveImage",
    "resources",
    "volume",
}
_SHOWN_APART = {"adopt_stack", "environment", "registry_config", "storage", "tls"}
_TOLD_APART = ("cacheUrl", "certificate.", "configYaml.", "url")


def declare(scope: Scope, certificate: Certificate) -> CacheSettings:
    """Declare the cache's settings; a preview says what their change does, and `up`, too, what clients must do."""
    name = scope.name

    async def tell(args: pulumi.ResourceHookArgs) -> None:
        old, new = await _known(args.old_inputs), await _known(args.new_inputs)
        if pulumi.runtime.is_dry_run() and (told := sentence(name, old, new)):
            pulumi.log.info(told)
        for warning in warnings(name, old, new):
            pulumi.log.warn(warning)

    says = pulumi.ResourceHookOptions(on_dry_run=True, ignore_errors=True)
    hook = pulumi.ResourceHook(f"{name}-changes", tell, says)
    opts = scope.after(hooks=pulumi.ResourceHookBinding(before_update=[hook]))
    props = settings_of(scope.settings, name) | _trust(scope, certificate)
    return CacheSettings(f"{name}-settings", props, opts)


def settings_of(settings: Settings, name: str) -> dict[str, Any]:
    """Return the settings of cache `name` with their defaults, and config.yml: no secret and no PEM text."""
    cache = settings.caches[name]
    return cache.model_dump(by_alias=True, exclude=_SHOWN_APART, exclude_none=True) | {
        "tls": cache.tls.preview_fields(),
        **({"environment": environment(cache, name)} if cache.environment else {}),
        "update": {"order": cache.update_order, "monitor": cache.update.monitor},
        "verify": settings.verify_of(name),
        "image": settings.image_of(name),
        "label": settings.label_of(name),
        "upstreams": settings.upstreams_of(name),
        "url": cache.url,
        "cacheUrl": cache.url if len(settings.caches) == 1 else None,
        **flat({"configYaml": mask_secrets(registry_config.render(settings, name))}),
    }


async def _known(inputs: Mapping[str, Any] | None) -> Facts:
    """Return what a hook is given, flat: the SDK hands over a property with a secret inside as an Output."""
    values = {key: pulumi.Output.from_input(value) for key, value in (inputs or {}).items()}
    return flat({key: await value.future(with_unknowns=True) for key, value in values.items()})


def _trust(scope: Scope, certificate: Certificate) -> dict[str, Any]:
    return {
        "certificate": {
            "subject": certificate.subject,
            "sha256": certificate.sha256,
            "expires": certificate.expires,
            "trustedSha256": certificate.trust.apply(pem.sha256_of),
        },
        "msrCaSha256": scope.site.msr_ca.sha256 if scope.site.msr_ca else None,
    }


def flat(value: Mapping[str, Any], above: str = "") -> Facts:
    """Return nested maps and lists as one map; leave out what is Pulumi's own."""
    found: Facts = {}
    for key, inner in value.items():
        path = f"{above}.{key}" if above else key
        if isinstance(inner, list) and any(isinstance(item, dict) for item in inner):
            inner = {str(number): item for number, item in enumerate(inner)}  # noqa: PLW2901 - lists are maps, too
        if isinstance(inner, Mapping):
            found |= flat(inner, path)
        elif not key.startswith("__"):
            found[path] = ", ".join(map(str, inner)) if isinstance(inner, list) else inner
    return found


def sentence(name: str, old: Facts, new: Facts) -> str | None:
    """Return what changes, and for how long nobody is served; None if clients and operators need not know."""
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    tops = {key.partition(".")[0] for key in changed}
    own = [key for key in changed if not key.startswith(_TOLD_APART)]
    config = [key for key in own if key in registry_config.KEYS] if "configYaml" in tops else []
    if "configYaml" in tops and not config:
        config = [key for key in changed if key.startswith("configYaml.")]
    told = _told(config, [key for key in own if key not in config], old, new)
    told += ["the certificate changes"] if "certificate" in tops else []
    return f"{name}: {', '.join(told)}; {_effect(tops, old, new)}" if told else None


def takeover(name: str, old: Facts, new: Facts) -> str:
    """Return what a run changes of a cache made by hand; `old` has the keys that its service and config.yml show."""
    tops = {key.partition(".")[0] for key in old} | {"environment"}
    there = old.keys() | {key for key in new if key.partition(".")[0] in tops}
    changed = sorted(key for key in there if (old.get(key) or None) != (new.get(key) or None))
    lines = [key for key in changed if key.startswith("configYaml.")]
    told = _told(lines, [key for key in changed if key not in lines], old, new)
    effect = _effect({"configYaml"}, old, new)
    return f"{name}: takes over the service of docker stack {name}: {', '.join(told) or 'no setting changes'}; {effect}"


def _told(in_config_yml: list[str], others: list[str], old: Facts, new: Facts) -> list[str]:
    told = [f"config.yml changes ({_listed(in_config_yml, old, new)})"] if in_config_yml else []
    return told + ([_listed(others, old, new)] if others else [])


def _listed(keys: list[str], old: Facts, new: Facts) -> str:
    def told(key: str) -> str:
        if key.startswith("environment."):  # a hook is given secrets in the clear
            return f"{key} changes"
        return f"{key.removeprefix('configYaml.')} {_word(old.get(key))} => {_word(new.get(key))}"

    return ", ".join(map(told, keys))


def _word(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):  # the engine has no other numbers
        return f"{value:.10g}"
    return "none" if value in (None, "") else "new" if isinstance(value, pulumi.output.Unknown) else str(value)


def _effect(tops: set[str], old: Facts, new: Facts) -> str:
    if not new["replicas"]:
        return "the cache is off"
    found = []
    if tops & _RESTARTS:
        gap = "about 1 s without service" + (" on a host port" if new["publishMode"] == "host" else "")
        found.append(f"rolling restart, {'without a gap' if new['update.order'] == 'start-first' else gap}")
    if set(old["nodes"].split(", ")) - set(new["nodes"].split(", ")):
        found.append("the cache moves, about 5 s without service unless another replica serves")
    return ", ".join(found) or "no task restarts"


def warnings(name: str, old: Facts, new: Facts) -> Iterator[str]:
    """Yield what clients, or those who read the outputs, must do."""
    at, trusted = f"msr-cache:caches.{name}", "certificate.trustedSha256"
    if old.get(trusted) not in (None, new.get(trusted)):
        is_made = isinstance(new.get(trusted), pulumi.output.Unknown)
        made = "which this run makes" if is_made else f"SHA-256 {new[trusted]}"
        yield (
            f"{at}.tls: clients must trust the new certificate ({made}) instead of SHA-256 {old[trusted]}: their pulls "
            "fail from the restart until they do. See docs/certificates.md, 'When clients must trust something new'"
        )
    if old["url"] != new["url"]:
        then = "this run registers it, last" if "registerInMsr.adopt" in new else "see docs/move.md, 'Update MSR'"
        yield (
            f"{at}: the URL changes from {old['url']} to {new['url']}: clients that MSR sends to the old one fail "
            f"until MSR has the new one ({then})"
        )
    if old.get("cacheUrl") and not new.get("cacheUrl"):
        yield f"{at}: the stack output cacheUrl goes, because the stack has several caches: read caches.{name}.url"
