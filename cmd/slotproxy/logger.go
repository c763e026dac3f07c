package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"

	"slotproxy/internal/config"
)

// newLogger builds the logger that cfg asks for. level can be changed later.
func newLogger(w io.Writer, cfg config.Log, level *slog.LevelVar) *slog.Logger {
	setLevel(level, cfg.Level)
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: shortTime}
	switch format(cfg.Format, w) {
	case "text":
		return slog.New(newTextHandler(w, level))
	case "logfmt":
		return slog.New(slog.NewTextHandler(w, opts))
	}
	return slog.New(slog.NewJSONHandler(w, opts))
}

// setLevel takes over a level that the setting table has checked.
func setLevel(level *slog.LevelVar, name string) {
	if err := level.UnmarshalText([]byte(name)); err != nil {
		level.Set(slog.LevelInfo)
	}
}

// format resolves auto: a person reads text on a terminal, the journal has its own time stamps and wants short lines,
// everything else is a machine.
func format(name string, w io.Writer) string {
	if name != "auto" {
		return name
	}
	if f, ok := w.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			return "text"
		}
	}
	if os.Getenv("JOURNAL_STREAM") != "" {
		return "logfmt"
	}
	return "json"
}

// shortTime names the time ts, as in the list of log keys.
func shortTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		a.Key = "ts"
	}
	return a
}

// textHandler writes lines for people:
//
//	15:04:05.000 warn  table not refreshed err="dial tcp ..."
//
// The attributes are written by slog's own handler, into a buffer.
type textHandler struct {
	level slog.Leveler
	attrs slog.Handler // writes to shared.buf
	out   *textOutput
}

// textOutput is what a textHandler shares with those made from it.
type textOutput struct {
	mu  sync.Mutex
	w   io.Writer    // guarded by mu
	buf bytes.Buffer // guarded by mu
}

func newTextHandler(w io.Writer, level slog.Leveler) *textHandler {
	out := &textOutput{w: w}
	return &textHandler{level, slog.NewTextHandler(&out.buf, &slog.HandlerOptions{Level: level, ReplaceAttr: onlyAttrs}), out}
}

// onlyAttrs leaves out what textHandler writes itself.
func onlyAttrs(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return a
}

// from is the same log with another least level.
func (h *textHandler) from(level slog.Leveler) *textHandler {
	return &textHandler{level, h.attrs, h.out}
}

func (h *textHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &textHandler{h.level, h.attrs.WithAttrs(attrs), h.out}
}

func (h *textHandler) WithGroup(name string) slog.Handler {
	return &textHandler{h.level, h.attrs.WithGroup(name), h.out}
}

func (h *textHandler) Handle(ctx context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	b := &h.out.buf
	b.Reset()
	level := strings.ToLower(r.Level.String())
	b.WriteString(r.Time.Format("15:04:05.000 ") + level + strings.Repeat(" ", max(1, 6-len(level))) + r.Message + " ")
	if err := h.attrs.Handle(ctx, r); err != nil {
		return err
	}
	_, err := h.out.w.Write(append(bytes.TrimRight(b.Bytes(), " \n"), '\n'))
	return err
}
