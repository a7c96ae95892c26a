//go:build tools

// Kustomize, which is what kubectl apply -k renders with.
package tools

import _ "sigs.k8s.io/kustomize/kustomize/v5"
