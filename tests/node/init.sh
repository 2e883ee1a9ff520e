# The first process of a node. It is in new namespaces already; when it ends, so
# does everything in them. $1 is the node's directory; the other arguments are
# kernel settings, "<path>=<value>".
set -eu
dir=$1
shift

# Nothing that programs write where they always do reaches the machine.
mount -t tmpfs tmpfs /run
mount -t overlay overlay -o "lowerdir=/var,upperdir=$dir/var,workdir=$dir/work" /var
# Settings without namespaces are files here: what the kubelet sets, nobody gets.
for setting in "$@"; do
  file=$dir/settings/$(basename "${setting%%=*}")
  echo "${setting#*=}" >"$file"
  mount --bind "$file" "${setting%%=*}"
done
ip link set lo up
echo 1 >/proc/sys/net/ipv4/ip_forward
echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables
touch "$dir/initialised"

# The shell takes in the processes that lose their parents.
while :; do
  sleep 3600
done
