// Package bitwarden stands in for the server through which External Secrets
// reaches Bitwarden Secrets Manager, and for Bitwarden behind it. The server is
// https://github.com/external-secrets/bitwarden-sdk-server; what it answers is
// what the contract test says, line by line with its source.
package bitwarden

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/uuid"
)

// Item is what Bitwarden calls a secret.
type Item struct {
	ID      string
	Name    string
	Value   string
	Note    string
	Project string
}

// Server is one organisation and the server in front of it. Its methods stand
// for what people do in the web vault, and for what becomes of the service.
type Server struct {
	organization, token string
	handler             http.Handler

	mu    sync.Mutex
	items []Item
	delay time.Duration
	away  bool
	calls []string
}

// New returns the server of an organisation that is reached with a token.
func New(organization, token string) *Server {
	s := &Server{organization: organization, token: token}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ready")) })
	for pattern, answer := range map[string]http.HandlerFunc{
		"GET /rest/api/1/secrets":   s.list,
		"GET /rest/api/1/secret":    s.get,
		"POST /rest/api/1/secret":   s.create,
		"PUT /rest/api/1/secret":    s.update,
		"DELETE /rest/api/1/secret": s.remove,
	} {
		mux.Handle(pattern, s.login(answer))
	}
	s.handler = mux
	return s
}

// ServeHTTP answers one call.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Put makes an item, or changes the one with the same ID, and returns the ID.
func (s *Server) Put(item Item) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if item.ID == "" {
		item.ID = string(uuid.NewUUID())
	}
	s.items = slices.DeleteFunc(s.items, func(other Item) bool { return other.ID == item.ID })
	s.items = append(s.items, item)
	return item.ID
}

// Items returns the items of a name.
func (s *Server) Items(name string) []Item {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Item
	for _, item := range s.items {
		if item.Name == name {
			found = append(found, item)
		}
	}
	return found
}

// Remove deletes the items of a name.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.items = slices.DeleteFunc(s.items, func(item Item) bool { return item.Name == name })
}

// Slow makes every call take so long.
func (s *Server) Slow(delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delay = delay
}

// Away makes Bitwarden unreachable, or reachable again.
func (s *Server) Away(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

// Calls returns the calls so far, as method and path.
func (s *Server) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// login lets a call through that has the token.
func (s *Server) login(next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Only when the body is read is a client noticed that goes away.
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.mu.Lock()
		s.calls = append(s.calls, r.Method+" "+r.URL.Path)
		delay, away := s.delay, s.away
		s.mu.Unlock()
		select {
		case <-time.After(delay):
		case <-r.Context().Done():
			return
		}
		const failed = "failed to login to bitwarden using access token: bitwarden login: API error: "
		switch token := r.Header.Get("Warden-Access-Token"); {
		case token == "":
			http.Error(w, "Missing Warden access token", http.StatusUnauthorized)
		case away:
			http.Error(w, failed+"Received error message from server: [503 Service Unavailable]", http.StatusBadRequest)
		case token != s.token:
			http.Error(w, failed+"Access token is not in a valid format", http.StatusBadRequest)
		default:
			next(w, r)
		}
	})
}

// secret is an item as it is sent.
type secret struct {
	ID             string   `json:"id"`
	Key            string   `json:"key"`
	Value          string   `json:"value"`
	Note           string   `json:"note"`
	OrganizationID string   `json:"organizationId"`
	ProjectID      *string  `json:"projectId"`
	ProjectIDs     []string `json:"projectIds,omitempty"`
	CreationDate   string   `json:"creationDate"`
	RevisionDate   string   `json:"revisionDate"`
}

func (s *Server) sent(item Item) secret {
	now := time.Now().UTC().Format(time.RFC3339Nano)
	sent := secret{
		ID: item.ID, Key: item.Name, Value: item.Value, Note: item.Note,
		OrganizationID: s.organization, CreationDate: now, RevisionDate: now,
	}
	if item.Project != "" {
		sent.ProjectID = &item.Project
	}
	return sent
}

func (s *Server) list(w http.ResponseWriter, r *http.Request) {
	var request struct {
		OrganizationID string `json:"organizationId"`
	}
	if !read(w, r, &request, http.StatusInternalServerError) {
		return
	}
	if request.OrganizationID != s.organization {
		refuse(w, "failed to get secret")
		return
	}
	type identifier struct {
		ID             string `json:"id"`
		Key            string `json:"key"`
		OrganizationID string `json:"organizationId"`
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found := []identifier{}
	for _, item := range s.items {
		found = append(found, identifier{item.ID, item.Name, s.organization})
	}
	answer(w, map[string]any{"data": found})
}

func (s *Server) get(w http.ResponseWriter, r *http.Request) {
	var request struct {
		ID string `json:"id"`
	}
	if !read(w, r, &request, http.StatusInternalServerError) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.index(request.ID)
	if at < 0 {
		refuse(w, "failed to get secret")
		return
	}
	answer(w, s.sent(s.items[at]))
}

func (s *Server) create(w http.ResponseWriter, r *http.Request) {
	var request secret
	if !read(w, r, &request, http.StatusBadRequest) {
		return
	}
	if request.OrganizationID != s.organization || len(request.ProjectIDs) != 1 {
		refuse(w, "failed to create secret")
		return
	}
	item := Item{
		Name: request.Key, Value: request.Value, Note: request.Note, Project: request.ProjectIDs[0],
	}
	item.ID = s.Put(item)
	answer(w, s.sent(item))
}

func (s *Server) update(w http.ResponseWriter, r *http.Request) {
	var request secret
	if !read(w, r, &request, http.StatusBadRequest) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.index(request.ID)
	if at < 0 || request.OrganizationID != s.organization || len(request.ProjectIDs) != 1 {
		refuse(w, "failed to update secret")
		return
	}
	s.items[at] = Item{
		ID: request.ID, Name: request.Key, Value: request.Value, Note: request.Note, Project: request.ProjectIDs[0],
	}
	answer(w, s.sent(s.items[at]))
}

func (s *Server) remove(w http.ResponseWriter, r *http.Request) {
	var request struct {
		IDs []string `json:"ids"`
	}
	if !read(w, r, &request, http.StatusBadRequest) {
		return
	}
	type removed struct {
		ID    string  `json:"id"`
		Error *string `json:"error"`
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	result := []removed{}
	for _, id := range request.IDs {
		one := removed{ID: id}
		if at := s.index(id); at >= 0 {
			s.items = slices.Delete(s.items, at, at+1)
		} else {
			missing := "Resource not found."
			one.Error = &missing
		}
		result = append(result, one)
	}
	answer(w, map[string]any{"data": result})
}

// index is where the item of an ID is, -1 for nowhere.
func (s *Server) index(id string) int {
	return slices.IndexFunc(s.items, func(item Item) bool { return item.ID == id })
}

// read decodes a request, which has its arguments in the body even if it is a
// GET.
func read(w http.ResponseWriter, r *http.Request, request any, otherwise int) bool {
	if err := json.NewDecoder(r.Body).Decode(request); err != nil {
		http.Error(w, err.Error(), otherwise)
		return false
	}
	return true
}

// refuse says what Bitwarden says, with the one status that the server has for
// all of it.
func refuse(w http.ResponseWriter, what string) {
	http.Error(w, what+": API error: Received error message from server: [404 Not Found]", http.StatusBadRequest)
}

func answer(w http.ResponseWriter, content any) {
	if err := json.NewEncoder(w).Encode(content); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
