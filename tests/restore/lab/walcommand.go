package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// PostgreSQL's archive_command and restore_command talk to a [Sidecar] over a
// Unix socket, as CloudNativePG's instance manager does with the plugin's.
const (
	archiveCommand = "wal-archive"
	restoreCommand = "wal-restore"
)

func isWALCommand(word string) bool { return word == archiveCommand || word == restoreCommand }

// walCommand is what PostgreSQL runs: the command, the socket, the name of the
// WAL file, and where to put it.
func walCommand(arguments []string) int {
	if err := askSidecar(arguments); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func askSidecar(arguments []string) error {
	if len(arguments) < 3 {
		return fmt.Errorf("%s wants a socket and the name of a WAL file", arguments[0])
	}
	query := url.Values{"name": {arguments[2]}}
	if len(arguments) > 3 {
		query.Set("to", arguments[3])
	}
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", arguments[1])
		},
	}}
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost,
		"http://sidecar/"+arguments[0]+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(string(answer))
	}
	return nil
}

// command is the setting of PostgreSQL that reaches the sidecar.
func (s *Sidecar) command(name, arguments string) string {
	return shellQuote(labProgram(Directory())) + " " + name + " " + shellQuote(s.socket()) + " " + arguments
}

func (s *Sidecar) socket() string { return filepath.Join(s.instance.dir, "sidecar.sock") }

// serve answers PostgreSQL's commands until stop is called.
func (s *Sidecar) serve(ctx context.Context) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "unix", s.socket())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	handle := func(name string, work func(context.Context, url.Values) error) {
		mux.HandleFunc("POST /"+name, func(w http.ResponseWriter, r *http.Request) {
			if err := work(r.Context(), r.URL.Query()); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	handle(archiveCommand, func(ctx context.Context, query url.Values) error {
		return s.archiveWAL(ctx, query.Get("name"))
	})
	handle(restoreCommand, func(ctx context.Context, query url.Values) error {
		return s.restoreWAL(ctx, query.Get("name"), query.Get("to"))
	})
	s.listener = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	s.served = make(chan struct{})
	go func() {
		defer close(s.served)
		_ = s.listener.Serve(listener)
	}()
	return nil
}

// stopServing ends serve and what it is doing.
func (s *Sidecar) stopServing() {
	if s.listener == nil {
		return
	}
	_ = s.listener.Close()
	<-s.served
	_ = os.Remove(s.socket())
}
