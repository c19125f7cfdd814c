"""The documents that people, programs and MatterStack exchange: configs, manifests, responses, `run.json`."""
