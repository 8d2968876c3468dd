"""MsrCache: read this file to see every tracked resource of a cache, in order."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pulumi
import pulumi_docker as docker
import pulumi_tls as tls

from msr_cache import certificate
from msr_cache.config import registry_config
from msr_cache.resources.cache_user import CacheUser
from msr_cache.resources.http_secret import HttpSecret
from msr_cache.resources.image import Image
from msr_cache.resources.node_label import NodeLabel
from msr_cache.resources.registration import FormerEntries, Registration
from msr_cache.resources.rollout import Rollout
from msr_cache.resources.swarm_file import SwarmConfig, SwarmSecret
from msr_cache.resources.verification import PullVerification, Verification
from msr_cache.rollout import trial
from msr_cache.service import Parts, service_args
from msr_cache.swarm.manager import Address, Manager
from msr_cache.swarm.ownership import Owner
from msr_cache.x509.pem import sha256_of

if TYPE_CHECKING:
    from msr_cache.config.settings import Settings, Tls
    from msr_cache.resources.msr_ca import MsrCa


class Site:
    """What all caches of a stack share: the settings, the swarm, MSR's CA (None: the system's trust), their own CA."""

    def __init__(self, settings: Settings, address: Address, msr_ca: MsrCa | None) -> None:
        self.settings = settings
        self.address = address
        self.msr_ca = msr_ca
        self.docker = docker.Provider("swarm", host=address.host, cert_path=address.cert_path, context=address.context)
        self.tls = tls.Provider("tls")
        self.local_ca = certificate.authority(settings, pulumi.ResourceOptions(provider=self.tls))


class MsrCache(pulumi.ComponentResource):
    """An MSR content cache on a swarm.

    Its inputs are the settings and config.yml in words, secrets masked, so that `pulumi preview --diff` can be read.
    """

    def __init__(self, name: str, site: Site, opts: pulumi.ResourceOptions | None = None) -> None:
        settings = site.settings
        cache = settings.caches[name]
        masked_config = registry_config.masked_yaml(registry_config.render(settings, name))
        words: dict[str, Any] = cache.model_dump(
            by_alias=True, exclude={"registry_config", "storage", "tls"}, exclude_none=True
        )
        words |= {
            "tls": cache.tls.words(),
            "verify": settings.verify_of(name),
            "image": settings.image_of(name),
            "label": settings.label_of(name),
            "upstreams": settings.upstreams_of(name),
            "configYaml": masked_config,
        }
        super().__init__("msr:cache:MsrCache", name, words, opts)
        own = certificate.own(name, cache, site.local_ca, pulumi.ResourceOptions(parent=self, provider=site.tls))
        # What only looks comes first, then what the swarm may refuse: nothing is made of a cache that can't run.
        checks = [*own.checks, *([site.msr_ca] if site.msr_ca else [])]
        child = pulumi.ResourceOptions(parent=self, depends_on=checks)
        owner = Owner(pulumi.get_project(), pulumi.get_stack(), name)

        image = Image(
            f"{name}-image", {"image": settings.image_of(name), "at": f"msr-cache:caches.{name}.image"}, child
        )
        child = pulumi.ResourceOptions(parent=self, depends_on=[*checks, image])
        labels = [
            NodeLabel(
                f"{name}-{node}",
                {"node": node, "key": settings.label_of(name), "value": "true", "owner": str(owner)},
                child,
            )
            for node in cache.nodes
        ]
        child = pulumi.ResourceOptions(parent=self, depends_on=[*checks, image, *labels])
        http_secret = HttpSecret(f"{name}-http.secret", child)

        def file(part: str, data: pulumi.Input[str]) -> dict[str, Any]:
            return {"prefix": f"{name}_{part}", "data": data, "labels": owner.labels(part)}

        def config_yml(secret: str) -> str:
            return registry_config.to_yaml(registry_config.render(settings, name, secret))

        config = SwarmConfig(f"{name}-config.yml", file("config.yml", http_secret.value.apply(config_yml)), child)
        contents = {"cache.cert.pem": own.served, "cache.key.pem": own.key}
        if site.msr_ca:
            contents = {registry_config.ca_file(settings): site.msr_ca.pem, **contents}
        secrets = {part: SwarmSecret(f"{name}-{part}-file", file(part, data), child) for part, data in contents.items()}
        args = service_args(settings, name, owner, Parts(image, config, secrets))
        service = docker.Service(
            f"{name}-service",
            **args,
            opts=pulumi.ResourceOptions(
                parent=self, provider=site.docker, depends_on=labels, hooks=_hooks(name, owner, site.address)
            ),
        )
        spec = _digest(args)
        rollout = Rollout(
            f"{name}-rollout",
            {
                "service": service.id,
                "specSha256": spec,
                "labels": owner.labels("rollout"),
                "certificateExpires": own.expires,
            },
            pulumi.ResourceOptions.merge(child, pulumi.ResourceOptions(hooks=_renewal_hook(name, cache.tls))),
        )
        own.expires.apply(lambda ends: _warn(certificate.renewal(name, cache.tls, ends)))
        sha256 = own.served.apply(sha256_of)
        self._face_clients(name, site, {"certificate": own.trust, "sha256": sha256, "specSha256": spec}, rollout)
        self.outputs: dict[str, Any] = {
            "url": cache.url,
            "certificatePem": own.trust,
            "certificateExpires": own.expires,
            "certificateSha256": sha256,
            **({"certificateRequestPem": own.request} if own.request else {}),
            "msrCaSha256": site.msr_ca.sha256 if site.msr_ca else None,
            "nodes": cache.nodes,
            "service": service.name,
            "image": image.reference,
            "configYaml": masked_config,
            "registration": {"name": name, "host": cache.url},
        }
        self.register_outputs({"url": cache.url})

    def _face_clients(self, name: str, site: Site, seen: dict[str, Any], last: pulumi.Resource) -> None:
        """Verify, register, point the accounts: each only after the last, and undone before it."""
        settings = site.settings
        cache = settings.caches[name]
        verify = settings.verify_of(name)
        msr = {"url": settings.msr.url, "ca": site.msr_ca.pem if site.msr_ca else None}
        seen |= {"cache": name, "cacheUrl": cache.url}

        def after(*steps: pulumi.Resource) -> pulumi.ResourceOptions:
            return pulumi.ResourceOptions(parent=self, depends_on=steps)

        if verify != "off":
            last = Verification(f"{name}-verification", seen, after(last))
        entry = None
        wish = cache.register_in_msr
        if wish:
            registration = Registration(
                f"{name}-registration", msr | {"name": name, "host": cache.url, "adopt": wish.adopt}, after(last)
            )
            entry = registration.entry
            pointed = msr | {"cache": entry, "at": f"msr-cache:caches.{name}.registerInMsr.users"}
            users = [
                CacheUser(f"{name}-{user}-user", pointed | {"user": user}, after(registration)) for user in wish.users
            ]
            former = msr | {"entry": entry, "former": registration.former}
            last = FormerEntries(f"{name}-former-entries", former, after(registration, *users))
        if verify == "pull":
            redirected = wish is not None and settings.msr.user in wish.users
            PullVerification(f"{name}-pull", seen | msr | {"redirected": redirected, "entry": entry}, after(last))


def _digest(args: dict[str, Any]) -> pulumi.Output[str]:
    text = pulumi.Output.json_dumps(args, sort_keys=True)
    return text.apply(lambda known: hashlib.sha256(known.encode()).hexdigest())


def _warn(text: str | None) -> None:
    if text:
        pulumi.log.warn(text)


def _renewal_hook(name: str, settings: Tls) -> pulumi.ResourceHookBinding:
    """Say why a certificate is renewed.

    A preview does not know what a resource was that it replaces; what it updates, it does. (A hook before the old
    certificate's end would be told, but `destroy` without --run-program refuses resources that have such hooks.)
    """

    def before_update(args: pulumi.ResourceHookArgs) -> None:
        if ends := (args.old_inputs or {}).get("certificateExpires"):
            _warn(certificate.renewal(name, settings, ends))

    hook = pulumi.ResourceHook(f"{name}-renewal", before_update, pulumi.ResourceHookOptions(on_dry_run=True))
    return pulumi.ResourceHookBinding(before_update=[hook])


def _hooks(name: str, owner: Owner, address: Address) -> pulumi.ResourceHookBinding:
    def before_create(_: pulumi.ResourceHookArgs) -> None:
        trial.refuse_foreign(Manager(address), owner, f"{name}_cache", dry_run=pulumi.runtime.is_dry_run())

    def before_update(args: pulumi.ResourceHookArgs) -> None:
        trial.before_update(Manager(address), owner, args)

    in_previews_too = pulumi.ResourceHookOptions(on_dry_run=True)
    return pulumi.ResourceHookBinding(
        before_create=[pulumi.ResourceHook(f"{name}-refuse-foreign", before_create, in_previews_too)],
        before_update=[pulumi.ResourceHook(f"{name}-trial", before_update)],
    )
