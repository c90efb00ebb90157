// Many connections in pion for `make bench-server`: `load` has the clients of a server, `serve` is an echo server.
//
// Both take the offer as the body of an HTTP POST and give the answer, with all candidates, as the body of the response.
//
// `load URL PEERS RATE SIZE AT_ONCE` connects the peers, and prints a line of JSON once they are up. Then it obeys lines:
// "start" has every peer send RATE messages of SIZE bytes a second, "report" prints what happened since the last report,
// and "stop" ends the sending. It ends with its standard input.
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/ice/v2"
	"github.com/pion/webrtc/v3"
)

type object = map[string]interface{}

var output sync.Mutex

func say(line object) {
	output.Lock()
	defer output.Unlock()
	_ = json.NewEncoder(os.Stdout).Encode(line)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// newAPI returns an API for connections over loopback; with a socket, all of them share it.
func newAPI(shared net.PacketConn) *webrtc.API {
	engine := webrtc.SettingEngine{}
	engine.SetIncludeLoopbackCandidate(true)
	engine.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	engine.SetInterfaceFilter(func(name string) bool { return name == "lo" })
	engine.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	if shared != nil {
		engine.SetICEUDPMux(webrtc.NewICEUDPMux(nil, shared))
	}
	return webrtc.NewAPI(webrtc.WithSettingEngine(engine))
}

func describe(pc *webrtc.PeerConnection, description webrtc.SessionDescription) (string, error) {
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(description); err != nil {
		return "", err
	}
	<-gathered
	return pc.LocalDescription().SDP, nil
}

// The server.

func answer(api *webrtc.API, configuration webrtc.Configuration, offer string) (string, error) {
	pc, err := api.NewPeerConnection(configuration)
	if err != nil {
		return "", err
	}
	pc.OnDataChannel(func(channel *webrtc.DataChannel) {
		channel.OnMessage(func(message webrtc.DataChannelMessage) { _ = channel.Send(message.Data) })
	})
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateFailed {
			_ = pc.Close()
		}
	})
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}); err != nil {
		return "", err
	}
	description, err := pc.CreateAnswer(nil)
	if err != nil {
		return "", err
	}
	return describe(pc, description)
}

func serve() {
	shared, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	must(err)
	_ = shared.SetReadBuffer(16 << 20)
	_ = shared.SetWriteBuffer(4 << 20)
	api, configuration := newAPI(shared), oneCertificate()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	must(err)
	say(object{"port": listener.Addr().(*net.TCPAddr).Port})
	must(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		offer, err := io.ReadAll(r.Body)
		var sdp string
		if err == nil {
			sdp, err = answer(api, configuration, string(offer))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/sdp")
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, sdp)
	})))
}

// The clients.

type crowd struct {
	channels []*webrtc.DataChannel
	opened   []time.Duration
	rate     float64
	size     int
	sent     uint64
	ended    uint64
	stop     chan struct{}
	lock     sync.Mutex
	taken    []float64 // milliseconds of the round trips
}

func oneCertificate() webrtc.Configuration {
	pc, err := webrtc.NewPeerConnection(webrtc.Configuration{})
	must(err)
	defer pc.Close()
	return webrtc.Configuration{Certificates: pc.GetConfiguration().Certificates}
}

func (c *crowd) connect(api *webrtc.API, configuration webrtc.Configuration, url string) error {
	began := time.Now()
	pc, err := api.NewPeerConnection(configuration)
	if err != nil {
		return err
	}
	channel, err := pc.CreateDataChannel("bench", nil)
	if err != nil {
		return err
	}
	open := make(chan struct{})
	channel.OnOpen(func() { close(open) })
	channel.OnMessage(func(message webrtc.DataChannelMessage) {
		sent := int64(binary.LittleEndian.Uint64(message.Data))
		took := float64(time.Now().UnixNano()-sent) / 1e6
		c.lock.Lock()
		c.taken = append(c.taken, took)
		c.lock.Unlock()
	})
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateFailed || state == webrtc.PeerConnectionStateClosed {
			atomic.AddUint64(&c.ended, 1)
		}
	})
	channel.OnClose(func() { atomic.AddUint64(&c.ended, 1) })
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	sdp, err := describe(pc, offer)
	if err != nil {
		return err
	}
	reply, err := post(url, sdp)
	if err != nil { // the server may have closed the idle TCP connection at this moment
		reply, err = post(url, sdp)
	}
	if err != nil {
		return err
	}
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: reply}); err != nil {
		return err
	}
	select {
	case <-open:
	case <-time.After(30 * time.Second):
		return fmt.Errorf("no channel opened")
	}
	c.lock.Lock()
	defer c.lock.Unlock()
	c.channels = append(c.channels, channel)
	c.opened = append(c.opened, time.Since(began))
	return nil
}

func post(url, sdp string) (string, error) {
	response, err := http.Post(url, "application/sdp", bytes.NewBufferString(sdp))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	reply, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%d: %s", response.StatusCode, reply)
	}
	return string(reply), err
}

func (c *crowd) connectAll(url string, peers, atOnce int) {
	api, configuration := newAPI(nil), oneCertificate()
	began := time.Now()
	var failed uint64
	var group sync.WaitGroup
	turns := make(chan struct{}, atOnce)
	for i := 0; i < peers; i++ {
		turns <- struct{}{}
		group.Add(1)
		go func() {
			defer func() { <-turns; group.Done() }()
			if err := c.connect(api, configuration, url); err != nil {
				atomic.AddUint64(&failed, 1)
				fmt.Fprintln(os.Stderr, "a peer is not connected:", err)
			}
		}()
	}
	group.Wait()
	say(object{"connected": len(c.channels), "failed": failed, "seconds": time.Since(began).Seconds()})
}

// send has one peer send at its rate. The peers begin one after the other, so that their messages are spread evenly.
func (c *crowd) send(number int, channel *webrtc.DataChannel) {
	pause := time.Duration(float64(time.Second) / c.rate)
	select {
	case <-time.After(pause * time.Duration(number) / time.Duration(len(c.channels))):
	case <-c.stop:
		return
	}
	message := make([]byte, c.size)
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		binary.LittleEndian.PutUint64(message, uint64(time.Now().UnixNano()))
		if channel.Send(message) == nil {
			atomic.AddUint64(&c.sent, 1)
		}
		select {
		case <-ticker.C:
		case <-c.stop:
			return
		}
	}
}

func (c *crowd) report() {
	c.lock.Lock()
	taken := c.taken
	c.taken = make([]float64, 0, len(taken))
	c.lock.Unlock()
	sort.Float64s(taken)
	line := object{"sent": atomic.SwapUint64(&c.sent, 0), "received": len(taken), "ended": atomic.LoadUint64(&c.ended)}
	if count := len(taken); count > 0 {
		line["p50"], line["p99"], line["most"] = taken[count/2], taken[count*99/100], taken[count-1]
	}
	say(line)
}

func load(arguments []string) {
	url := arguments[0]
	var numbers [4]int
	for i := range numbers {
		number, err := strconv.Atoi(arguments[1+i])
		must(err)
		numbers[i] = number
	}
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = numbers[3]
	c := &crowd{rate: float64(numbers[1]), size: numbers[2], stop: make(chan struct{})}
	c.connectAll(url, numbers[0], numbers[3])
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		switch lines.Text() {
		case "start":
			for i, channel := range c.channels {
				go c.send(i, channel)
			}
		case "report":
			c.report()
		case "stop":
			close(c.stop)
		}
	}
}

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "serve":
		serve()
	case len(os.Args) == 7 && os.Args[1] == "load":
		load(os.Args[2:])
	default:
		fmt.Fprintln(os.Stderr, "usage: pion_crowd serve | load URL PEERS RATE SIZE AT_ONCE")
		os.Exit(2)
	}
}
