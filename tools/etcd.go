package tools

// Etcd is the store behind the API server.
func Etcd() Tool {
	return Tool{Name: "etcd", Module: "etcd", Package: "go.etcd.io/etcd/server/v3"}
}
