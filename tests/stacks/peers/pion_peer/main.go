// Connections in pion that carry out commands; ../README.md describes their lines.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/pion/webrtc/v3"
)

type object = map[string]interface{}

type parameters struct {
	Label             string
	Ordered           *bool
	MaxRetransmits    *uint16
	MaxPacketLifeTime *uint16
	Protocol          *string
}

type command struct {
	Call                       int
	Connection, Do, SDP, Label string
	Channels                   []parameters
	Channel                    parameters
}

type connection struct {
	name     string
	pc       *webrtc.PeerConnection
	lock     sync.Mutex
	channels map[string]*webrtc.DataChannel
}

var output sync.Mutex
var encoder = json.NewEncoder(os.Stdout)

func say(line object) {
	output.Lock()
	defer output.Unlock()
	_ = encoder.Encode(line)
}

type options struct {
	// TCP leaves UDP out; peers connect to a port of ours.
	TCP bool
}

func newAPI() (*webrtc.API, error) {
	var given options
	if len(os.Args) > 1 {
		if err := json.Unmarshal([]byte(os.Args[1]), &given); err != nil {
			return nil, err
		}
	}
	settings := webrtc.SettingEngine{}
	if given.TCP {
		listener, err := net.ListenTCP("tcp4", &net.TCPAddr{})
		if err != nil {
			return nil, err
		}
		settings.SetICETCPMux(webrtc.NewICETCPMux(nil, listener, 8))
		settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeTCP4})
	}
	return webrtc.NewAPI(webrtc.WithSettingEngine(settings)), nil
}

func newConnection(api *webrtc.API, name string) (*connection, error) {
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	c := &connection{name: name, pc: pc, channels: map[string]*webrtc.DataChannel{}}
	if err == nil {
		pc.OnDataChannel(c.use)
	}
	return c, err
}

func (c *connection) use(channel *webrtc.DataChannel) {
	c.lock.Lock()
	c.channels[channel.Label()] = channel
	c.lock.Unlock()
	channel.OnMessage(func(message webrtc.DataChannelMessage) {
		var err error
		if message.IsString {
			err = channel.SendText(string(message.Data))
		} else {
			err = channel.Send(message.Data)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	})
	channel.OnOpen(func() {
		say(object{
			"event": "open", "connection": c.name, "label": channel.Label(), "ordered": channel.Ordered(),
			"maxRetransmits": channel.MaxRetransmits(), "maxPacketLifeTime": channel.MaxPacketLifeTime(),
			"protocol": channel.Protocol(),
		})
	})
	channel.OnClose(func() {
		say(object{"event": "closed", "connection": c.name, "label": channel.Label()})
	})
}

func (c *connection) create(p parameters) error {
	channel, err := c.pc.CreateDataChannel(p.Label, &webrtc.DataChannelInit{
		Ordered: p.Ordered, MaxRetransmits: p.MaxRetransmits, MaxPacketLifeTime: p.MaxPacketLifeTime, Protocol: p.Protocol,
	})
	if err == nil {
		c.use(channel)
	}
	return err
}

func (c *connection) describe(description webrtc.SessionDescription, err error) (object, error) {
	if err != nil {
		return nil, err
	}
	gathered := webrtc.GatheringCompletePromise(c.pc)
	if err := c.pc.SetLocalDescription(description); err != nil {
		return nil, err
	}
	<-gathered
	local := c.pc.LocalDescription()
	return object{"type": local.Type.String(), "sdp": local.SDP}, nil
}

func (c *connection) remote(kind webrtc.SDPType, sdp string) error {
	return c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: kind, SDP: sdp})
}

func (c *connection) obey(command command) (object, error) {
	switch command.Do {
	case "offer":
		for _, channel := range command.Channels {
			if err := c.create(channel); err != nil {
				return nil, err
			}
		}
		return c.describe(c.pc.CreateOffer(nil))
	case "answer":
		if err := c.remote(webrtc.SDPTypeOffer, command.SDP); err != nil {
			return nil, err
		}
		return c.describe(c.pc.CreateAnswer(nil))
	case "accept":
		return nil, c.remote(webrtc.SDPTypeAnswer, command.SDP)
	case "restart":
		return c.describe(c.pc.CreateOffer(&webrtc.OfferOptions{ICERestart: true}))
	case "create":
		return nil, c.create(command.Channel)
	case "close":
		c.lock.Lock()
		channel := c.channels[command.Label]
		c.lock.Unlock()
		return nil, channel.Close()
	case "end":
		return nil, c.pc.Close()
	}
	return nil, fmt.Errorf("no command %s", command.Do)
}

func main() {
	input := bufio.NewReaderSize(os.Stdin, 1<<22)
	connections := map[string]*connection{}
	api, err := newAPI()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		line, err := input.ReadBytes('\n')
		var order command
		if err != nil || json.Unmarshal(line, &order) != nil {
			return
		}
		c := connections[order.Connection]
		if c == nil {
			if c, err = newConnection(api, order.Connection); err != nil {
				say(object{"reply": order.Call, "error": err.Error()})
				continue
			}
			connections[order.Connection] = c
		}
		go func() {
			reply, err := c.obey(order)
			if reply == nil {
				reply = object{}
			}
			reply["reply"] = order.Call
			if err != nil {
				reply["error"] = err.Error()
			}
			say(reply)
		}()
	}
}
