package store

import (
	"context"
	"encoding/xml"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// server lists keys as S3 does: sorted, 1,000 at a time, folders as common
// prefixes when there is a delimiter
// (https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html).
// make restore-test reads from a real one.
type server struct {
	keys []string
	// answer is what it says instead.
	answer func(http.ResponseWriter)
}

func (s *server) ServeHTTP(answer http.ResponseWriter, request *http.Request) {
	if s.answer != nil {
		s.answer(answer)
		return
	}
	query := request.URL.Query()
	if !query.Has("list-type") {
		answer.Header().Set("Last-Modified", "Tue, 24 Nov 2026 01:00:00 GMT")
		answer.Header().Set("ETag", `"e"`)
		answer.Header().Set("Content-Length", "4")
		if strings.HasSuffix(request.URL.Path, "copied") {
			answer.Header().Set("X-Amz-Meta-Mtime", "1763942400.25")
		}
		if request.Method == http.MethodGet {
			_, _ = answer.Write([]byte("tiny"))
		}
		return
	}
	type entry struct {
		Key, Prefix  string `xml:",omitempty"`
		Size         int    `xml:",omitempty"`
		LastModified string `xml:",omitempty"`
	}
	var listed struct {
		XMLName               xml.Name `xml:"ListBucketResult"`
		IsTruncated           bool
		NextContinuationToken string `xml:",omitempty"`
		Contents              []entry
		CommonPrefixes        []entry
	}
	after := max(query.Get("start-after"), query.Get("continuation-token"))
	prefix, delimiter := query.Get("prefix"), query.Get("delimiter")
	count := 0
	for _, key := range s.keys {
		if !strings.HasPrefix(key, prefix) || key <= after || after != "" && strings.HasSuffix(after, "/") && delimiter != "" && strings.HasPrefix(key, after) {
			continue
		}
		if count == 1_000 {
			listed.IsTruncated = true
			break
		}
		if below := strings.TrimPrefix(key, prefix); delimiter != "" && strings.Contains(below, delimiter) {
			folder := prefix + below[:strings.Index(below, delimiter)+1]
			if !slices.ContainsFunc(listed.CommonPrefixes, func(e entry) bool { return e.Prefix == folder }) {
				listed.CommonPrefixes = append(listed.CommonPrefixes, entry{Prefix: folder})
				listed.NextContinuationToken = folder
				count++
			}
			continue
		}
		listed.Contents = append(listed.Contents, entry{Key: key, Size: 4, LastModified: "2026-11-24T01:00:00.000Z"})
		listed.NextContinuationToken = key
		count++
	}
	_ = xml.NewEncoder(answer).Encode(listed)
}

func newStore(t *testing.T, s *server) *Store {
	t.Helper()
	slices.Sort(s.keys)
	listening := httptest.NewServer(s)
	t.Cleanup(listening.Close)
	store, err := New(Options{Endpoint: listening.URL, Region: "us-east-1", Bucket: "bucket", KeyID: "key", Key: "secret"})
	require.NoError(t, err)
	return store
}

func TestListIsWhole(t *testing.T) {
	for _, test := range []struct {
		name     string
		segments int
		calls    int64
	}{
		{"a few", 10, 1},
		{"as many as are read at first", 998, 2},
		{"one page", 1_000, 3},
		{"two weeks", 4_000, 7},
		{"100 folders", 25_600, 35},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &server{keys: []string{"auth/pg/base/a/backup.info", "auth/pg-2/wals/0000000100000000/1", "auth/p", "b"}}
			var want []string
			for number := range test.segments {
				name := fmt.Sprintf("%08X%08X%08X", 1+number/12_800, number/256, number%256)
				want = append(want, "wals/"+name[:16]+"/"+name)
			}
			want[len(want)-1] = "wals/00000002.history"
			for _, path := range want {
				s.keys = append(s.keys, "auth/pg/"+path)
			}
			store := newStore(t, s)

			objects, err := store.Folder("auth/pg").List(t.Context(), "wals/")

			require.NoError(t, err)
			var got []string
			for _, object := range objects {
				got = append(got, object.Path)
			}
			slices.Sort(got)
			slices.Sort(want)
			assert.Equal(t, want, got)
			_, lists := store.Count()
			assert.Equal(t, test.calls, lists, "calls")
		})
	}
}

func TestFoldersAndTimes(t *testing.T) {
	store := newStore(t, &server{keys: []string{"auth/pg/pg/base/a", "auth/pg/pg-2/wals/b", "auth/pg/file", "other/x"}})
	folders, err := store.Folders(t.Context(), "/auth/pg/")
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"pg", "pg-2"}, folders)

	source := store.Folder("auth/pg")
	content, err := source.Read(t.Context(), "file")
	require.NoError(t, err)
	assert.Equal(t, "tiny", string(content))
	at, err := source.Arrived(t.Context(), "uploaded")
	require.NoError(t, err)
	assert.Equal(t, time.Date(2026, time.November, 24, 1, 0, 0, 0, time.UTC), at)
	at, err = source.Arrived(t.Context(), "copied")
	require.NoError(t, err)
	assert.Equal(t, time.Date(2025, time.November, 24, 0, 0, 0, 250_000_000, time.UTC), at)
	reads, lists := store.Count()
	assert.Equal(t, []int64{3, 1}, []int64{reads, lists})
}

func TestFaults(t *testing.T) {
	says := func(status int, code, message string) func(http.ResponseWriter) {
		return func(answer http.ResponseWriter) {
			answer.WriteHeader(status)
			fmt.Fprintf(answer, "<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
		}
	}
	for _, test := range []struct {
		name   string
		answer func(http.ResponseWriter)
		fault  Fault
		said   string
	}{
		{"a wrong key", says(403, "InvalidAccessKeyId", "The key is not valid"), Denied, "Forbidden InvalidAccessKeyId: The key is not valid"},
		{"a wrong secret", says(403, "SignatureDoesNotMatch", "Signature validation failed"), Denied, "Forbidden SignatureDoesNotMatch: Signature validation failed"},
		{"a cap", says(403, "AccessDenied", "Transaction cap exceeded"), Capped, "Forbidden AccessDenied: Transaction cap exceeded"},
		{"no bucket", says(404, "NoSuchBucket", "The bucket does not exist"), NoBucket, "Not Found NoSuchBucket: The bucket does not exist"},
		{"a region", says(400, "AuthorizationHeaderMalformed", "expecting 'eu'"), Region, "Bad Request AuthorizationHeaderMalformed: expecting 'eu'"},
		{"something else", says(400, "Strange", "Never heard of it"), Other, "Bad Request Strange: Never heard of it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := newStore(t, &server{answer: test.answer}).Folder("a").List(t.Context(), "wals/")
			require.Error(t, err)
			assert.Equal(t, test.fault, FaultOf(err))
			assert.Equal(t, test.said, Said(err))
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		store, err := New(Options{Endpoint: "http://127.0.0.1:1", Region: "a", Bucket: "bucket", KeyID: "key", Key: "secret"})
		require.NoError(t, err)
		_, err = store.Folder("a").List(t.Context(), "wals/")
		assert.Equal(t, Unreachable, FaultOf(err))
		assert.Contains(t, Said(err), "connection refused")
	})
	t.Run("it takes too long", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		_, err := newStore(t, &server{}).Folder("a").List(ctx, "wals/")
		assert.Equal(t, Unreachable, FaultOf(err))
		assert.Equal(t, "no answer in time", Said(err))
	})
	t.Run("a certificate of nobody", func(t *testing.T) {
		listening := httptest.NewTLSServer(&server{})
		defer listening.Close()
		store, err := New(Options{Endpoint: listening.URL, Region: "a", Bucket: "bucket", KeyID: "key", Key: "secret"})
		require.NoError(t, err)
		_, err = store.Folder("a").List(t.Context(), "wals/")
		assert.Equal(t, Untrusted, FaultOf(err))
	})
}
