package program

import (
	"bytes"
	"context"
	"sync"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
)

// engineLog shows what a program prints in the engine's display.
type engineLog struct {
	ctx    context.Context
	engine pulumirpc.EngineClient

	mu   sync.Mutex
	line []byte
}

// Write sends whole lines and keeps the rest until its end comes.
func (l *engineLog) Write(printed []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = append(l.line, printed...)
	for {
		end := bytes.IndexByte(l.line, '\n')
		if end < 0 {
			return len(printed), nil
		}
		l.send(l.line[:end])
		l.line = l.line[end+1:]
	}
}

// flush sends a last line that has no end.
func (l *engineLog) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.line) > 0 {
		l.send(l.line)
		l.line = nil
	}
}

// send leaves errors aside: an engine that is gone ends the program anyway.
func (l *engineLog) send(line []byte) {
	_, _ = l.engine.Log(l.ctx, &pulumirpc.LogRequest{Severity: pulumirpc.LogSeverity_INFO, Message: string(line)})
}
