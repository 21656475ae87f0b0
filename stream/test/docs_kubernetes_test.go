package test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bigpanda-udf/stream/test/natstest"
	"bigpanda-udf/test"

	"github.com/nats-io/jwt/v2"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"sigs.k8s.io/yaml"
)

// The Kubernetes example is of the types of its API, its parts name one another, and the
// program does with it what its head says: with its settings and its secret, as the
// kubelet mounts one, a deliverer gets ready where the probe asks.
func TestKubernetes(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "kubernetes", "deliver.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var deployment appsv1.Deployment
	var budget policyv1.PodDisruptionBudget
	objects := strings.Split(string(text), "\n---\n")
	for i, into := range []any{&deployment, &budget} {
		if err := yaml.UnmarshalStrict([]byte(objects[i]), into); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []struct{ got, want string }{
		{deployment.APIVersion + " " + deployment.Kind, "apps/v1 Deployment"}, {budget.APIVersion + " " + budget.Kind, "policy/v1 PodDisruptionBudget"},
	} {
		if kind.got != kind.want {
			t.Errorf("there is a %s, and no %s", kind.got, kind.want)
		}
	}
	spec := deployment.Spec.Template.Spec
	if len(objects) != 2 || len(spec.Containers) != 1 || len(spec.Volumes) != 1 || len(spec.Containers[0].VolumeMounts) != 1 {
		t.Fatal("it has other parts than this test knows")
	}
	// What selects the pods.
	labels := fmt.Sprint(deployment.Spec.Template.Labels)
	for of, selected := range map[string]map[string]string{
		"the deployment": deployment.Spec.Selector.MatchLabels, "the budget": budget.Spec.Selector.MatchLabels,
		"the spread": spec.TopologySpreadConstraints[0].LabelSelector.MatchLabels,
	} {
		if fmt.Sprint(selected) != labels {
			t.Errorf("%s selects %v, and the pods have the labels %s", of, selected, labels)
		}
	}
	if replicas, least := int(*deployment.Spec.Replicas), budget.Spec.MinAvailable.IntValue(); least >= replicas {
		t.Errorf("%d of %d must stay: no node can be drained", least, replicas)
	}

	// The secret that the head makes, where the pod has it.
	made := strings.Fields(between(t, string(text), "kubectl create secret generic", "\n"))[4:]
	mount, volume := spec.Containers[0].VolumeMounts[0], spec.Volumes[0]
	if mount.Name != volume.Name || volume.Secret == nil || volume.Secret.SecretName != made[0] {
		t.Errorf("%q is mounted, of the volume %q with the secret %+v, and the head makes %q", mount.Name, volume.Name, volume.Secret, made[0])
	}
	server, creds := operatorMode(t, jwt.NoLimit)
	nats := natstest.Start(t, natstest.Options{Config: server})
	s := newSite(t)
	contents := map[string]string{"token": test.Token, "nats.creds": creds}
	s.must(os.MkdirAll(s.path(mount.MountPath+"/..1"), 0o755))
	s.must(os.RemoveAll(s.path(mount.MountPath + "/token")))
	s.must(os.Symlink("..1", s.path(mount.MountPath+"/..data")))
	for _, key := range made[1:] {
		key = strings.TrimPrefix(key, "--from-file=")
		s.file(mount.MountPath+"/..1/"+key, contents[key], os.FileMode(*volume.Secret.DefaultMode))
		s.must(os.Symlink("..data/"+key, s.path(mount.MountPath+"/"+key)))
	}

	// The container, with another server and another port.
	container := spec.Containers[0]
	probe := container.ReadinessProbe.HTTPGet
	i := slices.IndexFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.Name == probe.Port.StrVal })
	if i < 0 {
		t.Fatalf("the probe asks the port %s, and there is none", probe.Port.String())
	}
	port, listen := fmt.Sprint(container.Ports[i].ContainerPort), fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(t))
	if scraped := deployment.Spec.Template.Annotations["prometheus.io/port"]; scraped != port {
		t.Errorf("Prometheus is told of the port %s, and the probe asks %s", scraped, port)
	}
	env := []string{"BIGPANDA_NATS_REPLICAS=1"}
	for _, v := range container.Env {
		value := strings.NewReplacer("nats://nats.nats.svc:4222", nats.URL(), ":"+port, listen, mount.MountPath, s.path(mount.MountPath)).Replace(v.Value)
		if value == v.Value && !strings.HasSuffix(v.Name, "_PREFIX") {
			t.Errorf("%s=%s is nothing of this example", v.Name, v.Value)
		}
		env = append(env, v.Name+"="+value)
	}
	s.start("deliver", env, container.Args...)
	natstest.Await(t, "the probe gets its answer", func() error {
		answer, err := http.Get("http://" + listen + probe.Path)
		if err != nil {
			return err
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", answer.Status)
		}
		return nil
	})
	command := strings.Fields(between(t, string(text), "kubectl exec", `"`))
	command[len(command)-1] = strings.TrimSuffix(command[len(command)-1], `"`)
	if command[2] != "deploy/"+deployment.Name {
		t.Errorf("the head looks into %s", command[2])
	}
	out, err := test.Command(append(slices.Clone(s.env), env...), command[5:]...).CombinedOutput()
	if err != nil || !regexp.MustCompile(`(?m)^\S+ delivers, `).Match(out) {
		t.Errorf("%q: %v\n%s", command, err, out)
	}
}
