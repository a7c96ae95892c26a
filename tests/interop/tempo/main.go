// Tempo in one process, from its own modules: it reads a configuration as strictly as its own command.
package main

import (
	"flag"
	"log"
	"os"

	"github.com/grafana/tempo/cmd/tempo/app"
	tempolog "github.com/grafana/tempo/pkg/util/log"
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/proto"
	"gopkg.in/yaml.v2"
)

func main() {
	path := flag.String("config.file", "", "configuration")
	verify := flag.Bool("config.verify", false, "read the configuration and exit")
	config := &app.Config{}
	config.RegisterFlagsAndApplyDefaults("", flag.CommandLine)
	flag.Parse()
	text, err := os.ReadFile(*path)
	if err != nil {
		log.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(text, config); err != nil {
		log.Fatal(err)
	}
	for _, warning := range config.CheckConfig() {
		log.Fatal(warning.Message)
	}
	if *verify {
		return
	}
	// As Tempo's command does for one process.
	config.Ingester.LifecyclerConfig.RingConfig.KVStore.Store = "inmemory"
	config.Ingester.LifecyclerConfig.RingConfig.ReplicationFactor = 1
	config.Ingester.LifecyclerConfig.Addr = "127.0.0.1"
	config.Generator.Ring.KVStore.Store = "inmemory"
	config.Generator.Ring.InstanceAddr = "127.0.0.1"
	encoding.RegisterCodec(codec{})
	tempolog.InitLogger(&config.Server)
	tempo, err := app.New(*config)
	if err != nil {
		log.Fatal(err)
	}
	if err := tempo.Run(); err != nil {
		log.Fatal(err)
	}
}

// codec encodes Tempo's messages by their own methods. Tempo registers one that does, but since Go
// 1.21 packages are initialized by path and gRPC's own, which cannot, comes after it.
type codec struct{}

func (codec) Name() string { return "proto" }

func (codec) Marshal(message any) ([]byte, error) {
	if own, ok := message.(interface{ Marshal() ([]byte, error) }); ok {
		return own.Marshal()
	}
	return proto.Marshal(message.(proto.Message))
}

func (codec) Unmarshal(data []byte, message any) error {
	if own, ok := message.(interface {
		Reset()
		Unmarshal([]byte) error
	}); ok {
		own.Reset()
		return own.Unmarshal(data)
	}
	return proto.Unmarshal(data, message.(proto.Message))
}
