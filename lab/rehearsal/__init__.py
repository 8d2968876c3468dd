"""An engine to rehearse with where Pulumi's CLI can't be had: it runs a Pulumi program in Python against the lab.

A few types, inputs and options are implemented; any other is an error that names it.
"""
