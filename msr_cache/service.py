"""A cache's docker.Service, as in MSR's documentation, with settings that avoid outages on changes; and its rollout.

Every field that the daemon fills in is set: otherwise pulumi-docker proposes to change it at each preview.
"""

import functools
import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_docker as docker

from msr_cache import moves, volume
from msr_cache.certificate import Certificate, renewal_hook
from msr_cache.config import image_registries, plain_text
from msr_cache.config.settings import Cache, ResourceAmount, Settings, memory_bytes
from msr_cache.files import Files
from msr_cache.placement import Placement
from msr_cache.resources.image import Image, refuse_resolvable
from msr_cache.resources.rollout import Rollout
from msr_cache.rollout import convergence, trial
from msr_cache.rollout.interruption import in_thread
from msr_cache.scope import Scope
from msr_cache.swarm.manager import Manager
from msr_cache.swarm.ownership import Owner, service_name

_PORT_IS_OPEN = (
    "for table in /proc/net/tcp /proc/net/tcp6; do while read -r _ address _ state _; do "
    '[ "${{address##*:}}$state" = {port:04X}0A ] && exit 0; done <$table; done; exit 1'
)
"""Needs only the shell, as start.sh does: no other tool is documented to be in the image. 0A is LISTEN."""
_OF_DOCKER_STACK = ["taskSpec.networksAdvanceds"]
"""What `docker stack deploy` gives to a service and the provider can change only by a replacement."""
_FILE = {"file_uid": "0", "file_gid": "0", "file_mode": 0o444}


@dataclass(frozen=True)
class RunningService:
    """The service; its rollout, which succeeds once it runs; and the digest of its arguments."""

    service: docker.Service
    rollout: Rollout
    spec_sha256: pulumi.Output[str]


def declare(scope: Scope, certificate: Certificate, placement: Placement, files: Files) -> RunningService:
    """Declare docker.Service, and Rollout, which removes the former files once the new ones are in use."""
    name, owner = scope.name, scope.owner
    args = service_args(scope.settings, name, owner, placement.image, files)
    adopted = scope.site.adopted.get(name)
    opts = scope.after(
        *placement.labels,
        *(scope.site.ready[cache].last for cache in scope.settings.upstream_caches(name)),
        provider=scope.site.docker,
        hooks=_service_hooks(scope),
        import_=adopted,
        # Until the next up: after an update that failed, destroy would remove what is still the docker stack's.
        protect=True if adopted else None,
        # So Rollout's diff can refuse a replacement before it begins. It is not there yet when a service is taken over,
        # whose replacement would be made first: the hook refuses that, because its name is taken.
        delete_before_replace=not adopted,
        # MKE sets some, and the provider would replace the service to remove them.
        ignore_changes=["taskSpec.containerSpec.labels", *(_OF_DOCKER_STACK if scope.cache.adopt_stack else ())],
    )
    if login := image_registries.login(scope.site.address.registries, scope.settings.image_of(name)):
        # Only an update hands a new login to the nodes. Hashed by a key that nobody has, no password can be guessed.
        sign = functools.partial(hmac.digest, msg=":".join(login).encode(), digest="sha256")
        value = pulumi.Output.unsecret(certificate.key.apply(lambda key: sign(key.encode()).hex()[:12]))
        args["labels"].append({"label": "msr-cache.login", "value": value})
    service = docker.Service(f"{name}-service", **args, opts=opts)
    spec = _sha256(args)
    props = {
        "service": service.id,
        "specSha256": spec,
        "replicas": scope.cache.replicas,
        "nodes": scope.cache.nodes,
        "labels": owner.labels("rollout"),
        "blobs": volume.place(scope.settings, name),
        "certificateExpires": certificate.expires,
        "adopts": scope.cache.adopt_stack or None,
    }
    # By default, `--replace` deletes the old one last, which would leave the service stopped.
    opts = scope.after(*placement.all, hooks=_rollout_hooks(scope), delete_before_replace=True)
    return RunningService(service, Rollout(f"{name}-rollout", props, opts), spec)


def _rollout_hooks(scope: Scope) -> pulumi.ResourceHookBinding:
    """Wait for the service in hooks: the SDK's host for our resources has four threads for all."""
    name, address = scope.name, scope.site.address

    async def wait(args: pulumi.ResourceHookArgs) -> None:
        await in_thread(convergence.wait, Manager(address), (args.new_inputs or {})["service"])

    async def move(_: pulumi.ResourceHookArgs) -> None:
        # Before a node that the cache leaves loses the label, which is at the end of the run.
        await in_thread(moves.try_move, scope, await scope.site.state_id.future())

    waits = pulumi.ResourceHook(f"{name}-wait", wait)
    leaves = pulumi.ResourceHook(f"{name}-move", move)
    renews = renewal_hook(name, scope.cache.tls)
    return pulumi.ResourceHookBinding(before_create=[waits], before_update=[renews, leaves, waits])


def _service_hooks(scope: Scope) -> pulumi.ResourceHookBinding:
    """Refuse what is not ours before anything changes, and try an update before it reaches the tasks that serve."""
    address = scope.site.address

    async def before_create(args: pulumi.ResourceHookArgs) -> None:
        new = args.new_inputs or {}
        found = await in_thread(trial.refuse_foreign, Manager(address), new["name"], trial.labels_in(new))
        if not scope.cache.resolve_image:
            image, at = scope.settings.image_of(scope.name), f"msr-cache:caches.{scope.name}.resolveImage"
            await in_thread(refuse_resolvable, Manager(address), image, at)
        if found and pulumi.runtime.is_dry_run():
            pulumi.log.warn(
                f"service {new['name']} exists, but the state does not know it: up removes it and makes another"
            )
        elif found:
            # An interrupted run created it without recording its id, so the state can only learn that of a new one.
            await in_thread(Manager(address).remove, "services", found)

    async def before_update(args: pulumi.ResourceHookArgs) -> None:
        # The SDK hands over a property with a secret inside as an Output.
        for properties in ("old_inputs", "old_outputs", "new_inputs"):
            setattr(args, properties, await pulumi.Output.from_input(getattr(args, properties)).future())
        await in_thread(trial.before_update, Manager(address), args, adopts=scope.cache.adopt_stack)

    in_previews_too = pulumi.ResourceHookOptions(on_dry_run=True)
    return pulumi.ResourceHookBinding(
        before_create=[pulumi.ResourceHook(f"{scope.name}-refuse-foreign", before_create, in_previews_too)],
        before_update=[pulumi.ResourceHook(f"{scope.name}-trial", before_update)],
    )


def service_args(settings: Settings, name: str, owner: Owner, image: Image, files: Files) -> dict[str, Any]:
    """Return the arguments of docker.Service for cache `name`."""
    cache = settings.caches[name]
    port, mode = cache.port, cache.publish_mode
    return {
        "name": service_name(name),
        "labels": [{"label": key, "value": value} for key, value in sorted(owner.labels("service").items())],
        "mode": {"replicated": {"replicas": cache.replicas}},
        "task_spec": {
            "container_spec": {
                **_container(image, files, port, environment(cache, name)),
                "mounts": volume.mounts(settings, name),
            },
            "placement": {
                "constraints": [f"node.labels.{settings.label_of(name)} == true"],
                "platforms": image.platforms,
                "max_replicas": cache.max_replicas_per_node or 0,
            },
            # MSR's documentation has on-failure, but a cache that a reboot ends exits with 0, and would stay off.
            "restart_policy": {"condition": "any", "delay": "5s", "max_attempts": 0, "window": "0s"},
            "resources": {
                "limits": _amount(cache.resources.limits),
                "reservation": _amount(cache.resources.reservations),
            },
            "force_update": 0,
            "runtime": "container",
        },
        "endpoint_spec": {
            "mode": "vip",
            "ports": [{"protocol": "tcp", "target_port": port, "published_port": port, "publish_mode": mode}],
        },
        "update_config": _update(cache.update_order, cache.update.monitor, "rollback"),
        "rollback_config": _update(cache.update_order, cache.update.monitor, "pause"),
    }


def _sha256(args: dict[str, Any]) -> pulumi.Output[str]:
    """Return the digest of the args as JSON. Output.json_dumps would make an Output of each key and value in them."""
    outputs: list[pulumi.Output[Any]] = []
    json.dumps(args, sort_keys=True, default=outputs.append)

    def digest(found: list[Any]) -> str:
        values = iter(found)
        return hashlib.sha256(json.dumps(args, sort_keys=True, default=lambda _: next(values)).encode()).hexdigest()

    return pulumi.Output.all(*outputs).apply(digest)


def environment(cache: Cache, name: str) -> dict[str, pulumi.Input[str]]:
    """Return the container's environment; what is encrypted in the stack's file is a Pulumi secret here, too."""
    file, project = plain_text.stack_file() if cache.environment else {}, pulumi.get_project()
    env: dict[str, pulumi.Input[str]] = {}
    for key, value in cache.environment.items():
        paths = (("caches", name, "environment", key), ("cacheDefaults", "environment", key))
        env[key] = value if plain_text.is_plain(value, file, project, *paths) else pulumi.Output.secret(value)
    return env


def _container(image: Image, files: Files, port: int, env: dict[str, pulumi.Input[str]]) -> dict[str, Any]:
    return {
        "image": image.reference,
        "commands": ["/start.sh", "/config.yml"],
        "env": env,
        "sysctl": {},
        "isolation": "default",
        "stop_grace_period": f"{convergence.GRACE_PERIOD}s",  # the provider's default is 0, which cuts pulls off
        # Without a health check a task counts as running before it serves, so the swarm stops the former one too early.
        "healthcheck": {
            "tests": ["CMD-SHELL", _PORT_IS_OPEN.format(port=port)],
            "interval": "2s",  # also the delay of the first check; each takes about 0.05 s of a core
            "timeout": "10s",
            "retries": 30,
            "start_period": "0s",
        },
        "secrets": [
            {"secret_id": secret.id, "secret_name": secret.name, "file_name": file, **_FILE}
            for file, secret in files.items()
        ],
    }


def _amount(amount: ResourceAmount) -> dict[str, int]:
    return {
        "nano_cpus": round((amount.cpus or 0) * 1e9),
        "memory_bytes": memory_bytes(amount.memory) if amount.memory else 0,
    }


def _update(order: str, monitor: str, failure_action: str) -> dict[str, Any]:
    return {
        "order": order,
        "monitor": monitor,
        "failure_action": failure_action,
        "parallelism": 1,
        "delay": "0s",
        "max_failure_ratio": "0.0",
    }
