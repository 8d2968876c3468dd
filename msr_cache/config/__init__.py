"""What a stack's config and config.yml may say: the only place that knows defaults and limits."""
