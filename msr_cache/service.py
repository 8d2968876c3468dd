"""Settings to the cache's docker.Service: the seed's, plus what makes a change of it no outage.

Every field that the daemon fills in is stated: unset, pulumi-docker proposes to change it at each preview.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msr_cache.config.settings import ResourceAmount, Settings
    from msr_cache.resources.image import Image
    from msr_cache.resources.swarm_file import SwarmConfig, SwarmSecret
    from msr_cache.swarm.ownership import Owner

_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_PORT_IS_OPEN = (
    "for table in /proc/net/tcp /proc/net/tcp6; do while read -r _ address _ state _; do "
    '[ "${{address##*:}}$state" = {port:04X}0A ] && exit 0; done <$table; done; exit 1'
)
"""By the shell alone, which start.sh needs as well: what else the image holds is not documented. 0A is LISTEN."""
_FILE = {"file_uid": "0", "file_gid": "0", "file_mode": 0o444}


@dataclass(frozen=True)
class Parts:
    """What the service is made of, by the names that the seed gives its files."""

    image: Image
    config: SwarmConfig
    secrets: dict[str, SwarmSecret]


def service_name(cache: str) -> str:
    """`docker stack deploy` names a service <stack>_<key>; the seed's key is `cache`."""
    return f"{cache}_cache"


def service_args(settings: Settings, name: str, owner: Owner, parts: Parts) -> dict[str, Any]:
    """Return the arguments of docker.Service for cache `name`."""
    cache = settings.caches[name]
    return {
        "name": service_name(name),
        "labels": [{"label": key, "value": value} for key, value in sorted(owner.labels("service").items())],
        "mode": {"replicated": {"replicas": cache.replicas}},
        "task_spec": {
            "container_spec": _container(parts, cache.port),
            "placement": {
                "constraints": [f"node.labels.{settings.label_of(name)} == true"],
                "platforms": parts.image.platforms,
            },
            "restart_policy": {"condition": "on-failure", "delay": "5s", "max_attempts": 0, "window": "0s"},
            "resources": {
                "limits": _amount(cache.resources.limits),
                "reservation": _amount(cache.resources.reservations),
            },
            "force_update": 0,
            "runtime": "container",
        },
        "endpoint_spec": {
            "mode": "vip",
            "ports": [
                {
                    "protocol": "tcp",
                    "target_port": cache.port,
                    "published_port": cache.port,
                    "publish_mode": cache.publish_mode,
                }
            ],
        },
        "update_config": _update(cache.update_order, cache.update.monitor, "rollback"),
        "rollback_config": _update(cache.update_order, cache.update.monitor, "pause"),
    }


def _container(parts: Parts, port: int) -> dict[str, Any]:
    return {
        "image": parts.image.reference,
        "commands": ["/start.sh", "/config.yml"],
        "env": {},
        "sysctl": {},
        "isolation": "default",
        "stop_grace_period": "10s",  # unset, the provider makes it 0, which cuts pulls off
        # Without it a task counts as running before it serves, and the swarm ends the one before it too early.
        "healthcheck": {
            "tests": ["CMD-SHELL", _PORT_IS_OPEN.format(port=port)],
            "interval": "2s",  # the first is made after one; each costs about 0.05 s of a core
            "timeout": "10s",
            "retries": 30,
            "start_period": "0s",
        },
        "configs": [
            {"config_id": parts.config.id, "config_name": parts.config.name, "file_name": "config.yml", **_FILE}
        ],
        "secrets": [
            {"secret_id": secret.id, "secret_name": secret.name, "file_name": file, **_FILE}
            for file, secret in parts.secrets.items()
        ],
    }


def _amount(amount: ResourceAmount) -> dict[str, int]:
    return {
        "nano_cpus": round((amount.cpus or 0) * 1e9),
        "memory_bytes": int(amount.memory[:-1]) * _UNITS[amount.memory[-1]] if amount.memory else 0,
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
