# Several Redis servers on TCP, for tests of what finds them: a primary with replicas and
# sentinels, or a cluster. They end with the test. Redises->new(tls => 1): all of them with TLS.
package Redises;
use strict;
use warnings;

use File::Temp qw(tempdir);
use IO::Socket::INET;
use Psync;
use Tls;
use Time::HiRes qw(sleep);

sub new {
    my ($class, %o) = @_;
    my $dir = tempdir('psync-redis-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    mkdir "$dir/log";
    Tls::make($dir, 'IP:127.0.0.1') if $o{tls};
    return bless {dir => $dir, host => bless({dir => $dir}, 'Psync'), servers => {},
        tls => $o{tls}}, $class;
}

# What every server's redis.conf says of where it listens.
sub listening {
    my ($self, $port) = @_;
    return (['port', $port]) unless $self->{tls};
    return (['port', 0], ['tls-port', $port], ['tls-cert-file', "$self->{dir}/server.crt"],
        ['tls-key-file', "$self->{dir}/server.key"], ['tls-ca-cert-file', "$self->{dir}/ca.crt"],
        ['tls-auth-clients', 'no'], ['tls-replication', 'yes'], ['tls-cluster', 'yes']);
}

# "redis+cluster" to "rediss+cluster", where it is; what must stand behind such a URL.
sub scheme { return $_[0]{tls} ? $_[1] =~ s/^redis/rediss/r : $_[1] }
sub query {
    my ($self, @more) = @_;
    push @more, "ca=$self->{dir}/ca.crt" if $self->{tls};
    return @more ? '?' . join('&', @more) : '';
}

# A cluster's second port must be free as well, so both are asked for.
sub free_port {
    my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1') or die "no port: $!";
    return $s->sockport;
}

# Options are lines of redis.conf: [name, words...].
sub start {
    my ($self, $name, @options) = @_;
    my $s = $self->{servers}{$name} //= {port => free_port(), bus => free_port()};
    my $dir = "$self->{dir}/$name";
    my $sentinel = grep { $_->[0] eq 'sentinel' } @options;
    if (!-d $dir) {
        mkdir $dir or die "mkdir '$dir': $!";
        unshift @options, ['appendonly', 'yes'], ['appendfsync', 'always'], ['save', '""'],
            ['maxmemory-policy', 'noeviction'], ['repl-diskless-sync-delay', 0]
            unless $sentinel;
        open my $f, '>', "$dir/redis.conf" or die "'$dir': $!";
        print {$f} join(' ', @$_), "\n"
            for $self->listening($s->{port}), ['bind', '127.0.0.1'], ['dir', $dir], @options;
        close $f;
        $s->{sentinel} = $sentinel;
        ($s->{password}) = map { $_->[0] eq 'requirepass' ? $_->[1] : () } @options;
    }
    $s->{pid} = $self->{host}->spawn($name, ['redis-server', "$dir/redis.conf",
        $s->{sentinel} ? '--sentinel' : ()]);
    Psync::until_true(15, sub { $self->ask($name, 'ping') eq 'PONG' })
        or die "Redis '$name' does not start";
    return $s->{port};
}

sub port { return $_[0]{servers}{$_[1]}{port} }
sub bus { return $_[0]{servers}{$_[1]}{bus} }
sub pid { return $_[0]{servers}{$_[1]}{pid} }

sub kill_server {
    my ($self, $name, $signal) = @_;
    return Psync::end_pid($self->{servers}{$name}{pid}, $signal // 'KILL', 10);
}

sub ask {
    my ($self, $name, @words) = @_;
    my $password = $self->{servers}{$name}{password};
    my ($code, $out) = Psync::run_argv(undef, undef, 'redis-cli', '-p', $self->port($name),
        $self->{tls} ? ('--tls', '--cacert', "$self->{dir}/ca.crt") : (),
        defined $password ? ('--no-auth-warning', '-a', $password) : (), @words);
    $out =~ s/\s+\z//;
    return $code == 0 ? $out : '';
}

# A primary 'a', a replica 'b', three sentinels that know it as 'mirror'. Returns REDIS_URL.
# Options: password, and sentinel_password of the sentinels themselves.
sub with_sentinels {
    my ($self, %o) = @_;
    my @auth = $o{password} ? (['requirepass', $o{password}], ['masterauth', $o{password}]) : ();
    my @theirs = $o{sentinel_password} ? (['requirepass', $o{sentinel_password}],
        ['sentinel', 'sentinel-pass', $o{sentinel_password}]) : ();
    push @theirs, ['sentinel', 'auth-pass', 'mirror', $o{password}] if $o{password};
    $self->start('a', @auth);
    $self->start('b', ['replicaof', '127.0.0.1', $self->port('a')], @auth);
    Psync::until_true(20, sub { $self->ask('b', 'info', 'replication') =~ /master_link_status:up/ })
        or die 'the replica does not follow';
    for my $name (qw(s1 s2 s3)) {
        $self->start($name, ['sentinel', 'monitor', 'mirror', '127.0.0.1', $self->port('a'), 2],
            ['sentinel', 'down-after-milliseconds', 'mirror', 1000],
            ['sentinel', 'failover-timeout', 'mirror', 5000], @theirs);
    }
    Psync::until_true(30, sub {
        !grep { $self->ask($_, 'sentinel', 'ckquorum', 'mirror') !~ /^OK 3/ } qw(s1 s2 s3);
    }) or die 'the sentinels do not find each other';
    Psync::until_true(30, sub {
        !grep { $self->ask($_, 'sentinel', 'replicas', 'mirror') !~ /127/ } qw(s1 s2 s3);
    }) or die 'the sentinels do not find the replica';
    my $scheme = $self->scheme('redis+sentinel');
    my $user = $o{password} ? ":$o{password}\@" : '';
    my $query = $self->query($o{sentinel_password} ? "sentinel_password=$o{sentinel_password}" : ());
    return join ',', map { "$scheme://${user}127.0.0.1:" . $self->port($_) . "/mirror$query" }
        qw(s1 s2 s3);
}

# Three primaries n1 n2 n3 of a cluster and, with the option replicas, as many again that follow
# one each (n4 n5 n6). Returns REDIS_URL.
sub with_cluster {
    my ($self, %o) = @_;
    my @names = map { "n$_" } 1 .. ($o{replicas} ? 6 : 3);
    $self->{nodes} = \@names;
    for my $name (@names) {
        $self->{servers}{$name} = {port => free_port(), bus => free_port()};
        $self->start($name, ['cluster-enabled', 'yes'], ['cluster-node-timeout', 2000],
            ['cluster-port', $self->bus($name)], ['cluster-require-full-coverage', 'no'],
            ['cluster-config-file', "$self->{dir}/$name.nodes"]);
    }
    my ($code, $out, $err) = Psync::run_argv(undef, undef, 'redis-cli', '--cluster', 'create',
        (map { '127.0.0.1:' . $self->port($_) } @names),
        $o{replicas} ? ('--cluster-replicas', 1) : (), '--cluster-yes',
        $self->{tls} ? ('--tls', '--cacert', "$self->{dir}/ca.crt") : ());
    die "no cluster: $out$err" if $code != 0;
    Psync::until_true(30, sub {
        !grep { $self->ask($_, 'cluster', 'info') !~ /cluster_state:ok[\s\S]*known_nodes:${\ scalar @names}/ }
            @names;
    }) or die 'the cluster does not come up';
    my $scheme = $self->scheme('redis+cluster');
    return join ',', map { "$scheme://127.0.0.1:" . $self->port($_) . $self->query } @names;
}

sub id { return $_[0]->ask($_[1], 'cluster', 'myid') }

# Which node has the slot of a key now.
sub owner {
    my ($self, $key) = @_;
    my ($asked) = grep { $self->ask($_, 'ping') eq 'PONG' } @{$self->{nodes}};
    my $slot = $self->ask($asked, 'cluster', 'keyslot', $key);
    for my $line (split /\n/, $self->ask($asked, 'cluster', 'nodes')) {
        my ($id, $at, @rest) = split ' ', $line;
        next if $rest[0] =~ /fail|slave/;
        for my $range (@rest[6 .. $#rest]) {
            my ($from, $to) = $range =~ /^(\d+)(?:-(\d+))?$/ or next;
            next unless $slot >= $from && $slot <= ($to // $from);
            my ($name) = grep { $at =~ /:$self->{servers}{$_}{port}@/ } @{$self->{nodes}};
            return $name;
        }
    }
    return;
}

# The replica that follows a node.
sub replica_of {
    my ($self, $name) = @_;
    my ($line) = grep { /\bslave\b/ } split /\n/,
        $self->ask($name, 'cluster', 'replicas', $self->id($name));
    my ($replica) = grep { ($line // '') =~ /:$self->{servers}{$_}{port}@/ } @{$self->{nodes}};
    return $replica;
}

# The slot of a key to another node, as redis-cli's resharding does it. Returns the keys moved.
sub move_slot {
    my ($self, $key, $to) = @_;
    my $from = $self->owner($key);
    my $slot = $self->ask($from, 'cluster', 'keyslot', $key);
    $self->ask($to, 'cluster', 'setslot', $slot, 'importing', $self->id($from));
    $self->ask($from, 'cluster', 'setslot', $slot, 'migrating', $self->id($to));
    my $moved = 0;
    for (;;) {
        my @keys = split /\n/, $self->ask($from, 'cluster', 'getkeysinslot', $slot, 50);
        last if !@keys;
        my $said = $self->ask($from, 'migrate', '127.0.0.1', $self->port($to), '', 0, 5000, 'keys',
            @keys);
        die "migrate: $said" if $said !~ /^(?:OK|NOKEY)/;
        $moved += @keys;
    }
    $self->ask($_, 'cluster', 'setslot', $slot, 'node', $self->id($to))
        for $to, $from, grep { $_ ne $to && $_ ne $from } qw(n1 n2 n3);
    return $moved;
}

1;
