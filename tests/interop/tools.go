//go:build tools

package interop

import _ "github.com/jaegertracing/jaeger/cmd/jaeger"
