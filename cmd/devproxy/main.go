package main

import (
	"context"
	"flag"
	"log/slog"
	"net/http"
	_ "net/http/pprof"
	"os"
	"os/signal"
	"slotproxy/internal/cluster"
	"slotproxy/proxy"
	"slotproxy/router"
	"strings"
	"syscall"
	"time"
)

func main() {
	fs := flag.NewFlagSet("serve", flag.ExitOnError)
	cl := fs.String("cluster", "", "")
	listen := fs.String("listen", "127.0.0.1:6479", "")
	fs.String("admin", "", "")
	ht := fs.String("http", "127.0.0.1:9490", "")
	loops := fs.Int("loops", 1, "")
	fs.String("log-level", "", "")
	fs.Parse(os.Args[2:])
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var p *proxy.Proxy
	k := router.NewKeeper(cluster.NewSource(cluster.Config{}), router.KeeperConfig{Seeds: strings.Split(*cl, ","), Interval: time.Second, MinGap: 100 * time.Millisecond, Timeout: time.Second, Log: slog.Default(),
		OnTable: func(t *router.Table) { p.SetTable(t) }})
	p, err := proxy.New(proxy.Config{Loops: *loops, Keeper: k, Log: slog.Default(), Listeners: []proxy.Listener{{Network: "tcp", Address: *listen}}})
	if err != nil {
		panic(err)
	}
	http.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		if k.Table() == nil {
			w.WriteHeader(503)
		}
	})
	go http.ListenAndServe(*ht, nil)
	if err := p.Listen(); err != nil {
		panic(err)
	}
	go k.Run(ctx)
	p.Run(ctx)
}
