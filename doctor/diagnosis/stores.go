package diagnosis

import (
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/homelab-iac/pulumi-cnpg-backup/components/cnpg"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/cluster"
	"github.com/homelab-iac/pulumi-cnpg-backup/doctor/store"
)

// readFindings are why a store could not be read.
func (s *Subject) readFindings(at cnpg.StoreLayout, read *Read) []Finding {
	if read.Err == nil {
		return nil
	}
	configuration := at.Spec.Configuration
	secret := configuration.AWS.AccessKeyIDReference.Name
	var bad *cluster.SecretError
	if errors.As(read.Err, &bad) || apierrors.IsNotFound(read.Err) {
		return []Finding{found(SecretMissing, read.Err.Error(), time.Time{}, "", s.secretCommand(at.Location, secret))}
	}
	if withoutKey(read.Err) {
		return nil // the verdict says so
	}
	said := fmt.Sprintf("%s, bucket %s: %s", configuration.EndpointURL, at.Bucket, store.Said(read.Err))
	switch store.FaultOf(read.Err) {
	case store.Unreachable:
		return []Finding{found(StoreUnreachable, said, time.Time{}, "Is it up, and is there a way from here?",
			"curl -sS -o /dev/null -w '%{http_code}\\n' "+configuration.EndpointURL)}
	case store.Untrusted:
		return []Finding{found(StoreUntrusted, said, time.Time{}, "Give the whole chain up to the root, by endpointCA, or here by -ca.", "")}
	case store.Region:
		if at.Location == cnpg.MinIO {
			return []Finding{found(StoreRegion, said, time.Time{}, s.regionOfNAS(), s.deploy())}
		}
		return []Finding{found(StoreRegion, said, time.Time{}, "Compare the region in "+s.Stack+" with the account's.", "")}
	case store.NoBucket:
		return []Finding{found(StoreNoBucket, said, time.Time{}, "Pulumi makes it again when its state knows that it is gone:",
			"pulumi refresh --stack "+s.Environment)}
	case store.Capped:
		return []Finding{found(StoreCapped, said, time.Time{}, `Raise the limit under "Caps & Alerts" at backblaze.com.`, "")}
	case store.Denied:
		return []Finding{found(StoreDenied, said+" (the key ends with "+read.KeyID+")", time.Time{},
			"Compare with the key that the bucket knows; at B2 the master key does not do.", s.secretCommand(at.Location, secret))}
	default:
		return []Finding{found(StoreOther, said, time.Time{}, "", "")}
	}
}

// withoutKey tells that a store was not even asked.
func withoutKey(err error) bool {
	var status apierrors.APIStatus
	return errors.Is(err, ErrNoKey) || errors.As(err, &status)
}

func (s *Subject) secretCommand(at cnpg.Location, secret string) string {
	if at == cnpg.B2 {
		return s.kubectl("describe externalsecret %s", secret)
	}
	return s.kubectl("get secret %s -o jsonpath='{.data}'", secret)
}

// keyFindings are about the key's way from Bitwarden.
func (s *Subject) keyFindings(name string, used bool) []Finding {
	external := s.Cluster.ExternalSecrets[name]
	if !used || external == nil {
		return nil
	}
	through := "ClusterSecretStore " + s.Layout.SecretStore
	describe := "kubectl describe clustersecretstore " + s.Layout.SecretStore
	switch store := s.Cluster.SecretStore; {
	case store != nil && !store.Ready && !store.Since.IsZero():
		return []Finding{found(SecretStoreBad, through+": "+store.Message, store.Since, "", describe)}
	case external.Ready:
		return nil
	case s.Cluster.Lacks("clustersecretstores", s.Layout.SecretStore):
		return []Finding{found(SecretStoreBad, through+" is not there", time.Time{}, "Make it, as docs/install.md says.", "")}
	}
	seen := external.Message
	if external.Event != "" {
		seen = external.Event
	}
	return []Finding{found(SecretNotSynced, "ExternalSecret "+name+": "+seen, external.Since, "", s.kubectl("describe externalsecret %s", name))}
}
