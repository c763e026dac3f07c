package main

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slotproxy/internal/cluster"
	"slotproxy/internal/testcluster"
	"slotproxy/proxy"
	"slotproxy/resp"
	"slotproxy/router"
	"strings"
	"time"
)

func main() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	cl, err := testcluster.Start(ctx, testcluster.Options{Version: testcluster.Version(os.Args[1]), Replicas: 1, NodeTimeout: 2 * time.Second})
	if err != nil {
		panic(err)
	}
	defer cl.Stop()
	var p *proxy.Proxy
	k := router.NewKeeper(cluster.NewSource(cluster.Config{}), router.KeeperConfig{Seeds: cl.Addrs(), Interval: time.Second, MinGap: 100 * time.Millisecond, Timeout: time.Second, Log: slog.Default(),
		OnTable: func(t *router.Table) { p.SetTable(t) }})
	p, _ = proxy.New(proxy.Config{Loops: 2, Keeper: k, Log: slog.Default(), Listeners: []proxy.Listener{{Network: "tcp", Address: "127.0.0.1:6479"}}})
	p.Listen()
	go k.Run(ctx)
	go p.Run(ctx)
	time.Sleep(time.Second)
	freeze := os.Args[2] == "freeze"
	victim := cl.Nodes[0]
	keys := [3]string{}
	for i := 0; i < 1000; i++ {
		key := fmt.Sprintf("k%d", i)
		n, _ := cl.SlotOwner(int(router.Slot([]byte(key))))
		for j := range 3 {
			if n == cl.Nodes[j] {
				keys[j] = key
			}
		}
	}
	fmt.Println("keys", keys)
	start := time.Now()
	for j := range 3 {
		for _, cmd := range []string{"SET", "GET"} {
			go func() {
				c, _ := net.Dial("tcp", "127.0.0.1:6479")
				r := bufio.NewReader(c)
				for {
					t0 := time.Now()
					args := []string{cmd, keys[j]}
					if cmd == "SET" {
						args = append(args, "v")
					}
					c.Write(resp.AppendCommandStrings(nil, args...))
					line, err := r.ReadString('\n')
					if err != nil {
						fmt.Println(j, cmd, err)
						return
					}
					if line[0] == '$' && line[1] != '-' {
						r.ReadString('\n')
					}
					d := time.Since(t0)
					if d > 100*time.Millisecond || line[0] == '-' {
						fmt.Printf("%.3f node %d %s took %v: %s\n", time.Since(start).Seconds(), j, cmd, d.Round(time.Millisecond), strings.TrimSpace(line))
					}
					time.Sleep(time.Millisecond)
				}
			}()
		}
	}
	// direct prober: first success of SET on replica
	time.Sleep(2 * time.Second)
	fmt.Printf("%.3f %s\n", time.Since(start).Seconds(), os.Args[2])
	if freeze {
		cl.Freeze(victim)
	} else {
		cl.Kill(victim)
	}
	var rep *testcluster.Node
	for _, n := range cl.Nodes {
		if n.PrimaryID == victim.ID {
			rep = n
		}
	}
	go func() {
		for {
			v, err := rep.Do("SET", keys[0], "direct")
			if err == nil && v == "OK" {
				fmt.Printf("%.3f direct success\n", time.Since(start).Seconds())
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	time.Sleep(7 * time.Second)
	if freeze {
		cl.Thaw(victim)
		fmt.Printf("%.3f thaw\n", time.Since(start).Seconds())
		time.Sleep(3 * time.Second)
	}
}
