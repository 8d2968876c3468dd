"""The resources that no provider has. Module path and class name are a stored contract: states name them."""
