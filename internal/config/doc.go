// Package config is what can be set, and where a setting comes from.
//
// settings.go holds the one table: each row is a YAML key, a flag (--max-clients), an environment variable
// (SLOTPROXY_MAX_CLIENTS), a type with its bounds, a default and its reason, and whether SIGHUP takes it over. Reading,
// checking, printing, PROXY CONFIG GET, configs/slotproxy.yaml and docs/configuration.md follow from the table; a new
// setting is a field of Config and one row.
//
//	default  <  file (strict YAML)  <  environment  <  flag
//
// A Config is built once by Load and then only read; a reload builds a new one. It holds plain Go types, so that the
// packages that are configured do not import this one: cmd/slotproxy hands the values over.
//
// It knows nothing of sockets, certificates' contents or the cluster: what can only be seen by trying is checked where
// it is tried.
package config
