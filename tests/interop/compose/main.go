// Docker Compose without Docker: enough for its own check of compose.yaml.
package main

import _ "github.com/docker/compose/v2/cmd"

func main() {}
