// A TURN server in pion on 127.0.0.1 over UDP and TCP: pion_turn REALM PASSWORD prints its port.
package main

import (
	"fmt"
	"net"
	"os"

	"github.com/pion/turn/v2"
)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func main() {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	must(err)
	socket, err := net.ListenPacket("udp4", listener.Addr().String())
	must(err)
	relay := &turn.RelayAddressGeneratorStatic{RelayAddress: net.ParseIP("127.0.0.1"), Address: "127.0.0.1"}
	_, err = turn.NewServer(turn.ServerConfig{
		Realm: os.Args[1],
		AuthHandler: func(user, realm string, _ net.Addr) ([]byte, bool) {
			return turn.GenerateAuthKey(user, realm, os.Args[2]), true
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: socket, RelayAddressGenerator: relay}},
		ListenerConfigs:   []turn.ListenerConfig{{Listener: listener, RelayAddressGenerator: relay}},
	})
	must(err)
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	select {}
}
