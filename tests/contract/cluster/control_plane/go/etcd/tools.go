//go:build tools

// Names the store's command, so that `go mod tidy` keeps what it is built from.
package tools

import _ "go.etcd.io/etcd/server/v3"
