// Pulumi's CLI, which is built by its own go.mod and go.sum; go.sum here names it, and what stands in for its replacements.
module msr-cache/lab/pulumi

go 1.26.6

require (
	github.com/atotto/clipboard v0.1.4
	github.com/pulumi/pulumi/pkg/v3 v3.274.1
	github.com/pulumi/pulumi/sdk/v3 v3.274.1
)
