//go:build tools

// Names the command that installs charts, so that `go mod tidy` keeps what it is built from.
package tools

import _ "helm.sh/helm/v4/cmd/helm"
