package bitwarden

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	organization = "11111111-1111-4111-8111-111111111111"
	project      = "22222222-2222-4222-8222-222222222222"
)

// TestContract has a line for each thing that External Secrets relies on. Where
// a line comes from is said as a function of one of
//
//	client: https://github.com/external-secrets/external-secrets/blob/v0.20.4/pkg/provider/bitwarden/bitwarden_sdk.go
//	server: https://github.com/external-secrets/bitwarden-sdk-server/blob/v0.7.0/pkg/server/server.go
//	login:  https://github.com/external-secrets/bitwarden-sdk-server/blob/v0.7.0/pkg/bitwarden/bitwarden.go
func TestContract(t *testing.T) {
	t.Parallel()
	item := Item{Name: "b2", Value: "v", Project: project}
	for name, test := range map[string]struct {
		source             string
		method, path, body string
		token              string
		away               bool
		status             int
		answer             string
	}{
		"a list has IDs and names, and no values": {
			source: "client ListSecrets and SecretIdentifierResponse; server listSecretsHandler",
			method: http.MethodGet, path: "/secrets", body: `{"organizationID":"` + organization + `"}`,
			status: http.StatusOK, answer: `{"data":[{"id":"ID","key":"b2","organizationId":"` + organization + `"}]}`,
		},
		"an item is read by its ID, from whatever project": {
			source: "client GetSecret and SecretResponse; server getSecretHandler",
			method: http.MethodGet, path: "/secret", body: `{"id":"ID"}`,
			status: http.StatusOK, answer: `"value":"v","note":"","organizationId":"` + organization + `","projectId":"` + project + `"`,
		},
		"an item that is not there is a bad request": {
			source: "server getSecretHandler",
			method: http.MethodGet, path: "/secret", body: `{"id":"33333333-3333-4333-8333-333333333333"}`,
			status: http.StatusBadRequest, answer: "failed to get secret: ",
		},
		"a GET whose body is no JSON is the server's error": {
			source: "server getSecretHandler, getClient",
			method: http.MethodGet, path: "/secret", body: `{`,
			status: http.StatusInternalServerError,
		},
		"an item is made in one project": {
			source: "client CreateSecret and SecretCreateRequest; server createSecretHandler",
			method: http.MethodPost, path: "/secret",
			body:   `{"key":"new","value":"w","note":"","organizationId":"` + organization + `","projectIds":["` + project + `"]}`,
			status: http.StatusOK, answer: `"key":"new","value":"w"`,
		},
		"an item is changed by its ID": {
			source: "client UpdateSecret and SecretPutRequest; server updateSecretHandler",
			method: http.MethodPut, path: "/secret",
			body:   `{"id":"ID","key":"b2","value":"w","note":"","organizationId":"` + organization + `","projectIds":["` + project + `"]}`,
			status: http.StatusOK, answer: `"id":"ID","key":"b2","value":"w"`,
		},
		"items are deleted by their IDs, and each has its own error": {
			source: "client DeleteSecret and SecretDeleteResponse; server deleteSecretHandler",
			method: http.MethodDelete, path: "/secret", body: `{"ids":["ID","none"]}`,
			status: http.StatusOK, answer: `{"data":[{"id":"ID","error":null},{"id":"none","error":"Resource not found."}]}`,
		},
		"no token is unauthorised": {
			source: "login Warden", token: "none",
			method: http.MethodGet, path: "/secrets", body: `{}`,
			status: http.StatusUnauthorized, answer: "Missing Warden access token",
		},
		"a wrong token is a bad request": {
			source: "login Warden, Login", token: "wrong",
			method: http.MethodGet, path: "/secrets", body: `{}`,
			status: http.StatusBadRequest, answer: "failed to login to bitwarden using access token: bitwarden login: ",
		},
		"Bitwarden that is away is a bad request too": {
			source: "login Warden, Login", away: true,
			method: http.MethodGet, path: "/secrets", body: `{}`,
			status: http.StatusBadRequest, answer: "failed to login to bitwarden using access token: bitwarden login: ",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NotEmpty(t, test.source)
			server := New(organization, "token")
			server.Away(test.away)
			id := server.Put(item)
			token := test.token
			if token == "" {
				token = "token"
			}
			status, answer := call(t, server, token, test.method, test.path, strings.ReplaceAll(test.body, `"ID"`, `"`+id+`"`))
			assert.Equal(t, test.status, status, answer)
			assert.Contains(t, strings.ReplaceAll(answer, id, "ID"), test.answer)
		})
	}
}

func TestAnItemKeepsItsNoteAndProject(t *testing.T) {
	t.Parallel()
	server := New(organization, "token")
	id := server.Put(Item{Name: "b2", Value: "v", Note: "made by hand", Project: "another"})

	_, answer := call(t, server, "token", http.MethodGet, "/secret", `{"id":"`+id+`"}`)

	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(answer), &got))
	assert.Equal(t, "made by hand", got["note"])
	assert.Equal(t, "another", got["projectId"])
}

func TestASlowServerAnswersLate(t *testing.T) {
	t.Parallel()
	server := New(organization, "token")
	server.Slow(time.Hour)
	ctx := t.Context()
	listening := httptest.NewServer(server)
	t.Cleanup(listening.Close)
	client := &http.Client{Timeout: 100 * time.Millisecond}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, listening.URL+"/rest/api/1/secrets", strings.NewReader("{}"))
	require.NoError(t, err)
	response, err := client.Do(request)
	if err == nil {
		_ = response.Body.Close()
	}
	require.ErrorContains(t, err, "Client.Timeout")
}

func call(t *testing.T, server *Server, token, method, path, body string) (status int, answer string) {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), method, "/rest/api/1"+path, strings.NewReader(body))
	if token != "none" {
		request.Header.Set("Warden-Access-Token", token)
	}
	recorder := httptest.NewRecorder()
	server.ServeHTTP(recorder, request)
	content, err := io.ReadAll(recorder.Body)
	require.NoError(t, err)
	return recorder.Code, string(content)
}
