"""The checks of a certificate, one part of it in each module; `verifier.checker` puts them together."""
