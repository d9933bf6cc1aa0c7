"""The environment of MONAI Label, which `make env-monailabel` makes."""
