# Several Redis servers on TCP, for tests of what finds them: a primary with replicas and
# sentinels, or a cluster. They end with the test.
package Redises;
use strict;
use warnings;

use File::Temp qw(tempdir);
use IO::Socket::INET;
use Psync;
use Time::HiRes qw(sleep);

sub new {
    my ($class) = @_;
    my $dir = tempdir('psync-redis-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    mkdir "$dir/log";
    return bless {dir => $dir, host => bless({dir => $dir}, 'Psync'), servers => {}}, $class;
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
            for ['port', $s->{port}], ['bind', '127.0.0.1'], ['dir', $dir], @options;
        close $f;
        $s->{sentinel} = $sentinel;
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
    my ($code, $out) = Psync::run_argv(undef, undef, 'redis-cli', '-p', $self->port($name), @words);
    $out =~ s/\s+\z//;
    return $code == 0 ? $out : '';
}

# A primary 'a', a replica 'b', three sentinels that know it as 'mirror'. Returns REDIS_URL.
sub with_sentinels {
    my ($self, %o) = @_;
    my @auth = $o{password} ? (['requirepass', $o{password}], ['masterauth', $o{password}]) : ();
    $self->start('a', @auth);
    $self->start('b', ['replicaof', '127.0.0.1', $self->port('a')], @auth);
    Psync::until_true(20, sub { $self->ask('b', 'info', 'replication') =~ /master_link_status:up/ })
        or die 'the replica does not follow';
    for my $name (qw(s1 s2 s3)) {
        $self->start($name, ['sentinel', 'monitor', 'mirror', '127.0.0.1', $self->port('a'), 2],
            ['sentinel', 'down-after-milliseconds', 'mirror', 1000],
            ['sentinel', 'failover-timeout', 'mirror', 5000]);
    }
    Psync::until_true(30, sub {
        !grep { $self->ask($_, 'sentinel', 'ckquorum', 'mirror') !~ /^OK 3/ } qw(s1 s2 s3);
    }) or die 'the sentinels do not find each other';
    Psync::until_true(30, sub {
        !grep { $self->ask($_, 'sentinel', 'replicas', 'mirror') !~ /127/ } qw(s1 s2 s3);
    }) or die 'the sentinels do not find the replica';
    return join ',', map { 'redis+sentinel://127.0.0.1:' . $self->port($_) . '/mirror' }
        qw(s1 s2 s3);
}

# Three primaries n1 n2 n3 of a cluster. Returns REDIS_URL.
sub with_cluster {
    my ($self) = @_;
    my @names = qw(n1 n2 n3);
    for my $name (@names) {
        $self->{servers}{$name} = {port => free_port(), bus => free_port()};
        $self->start($name, ['cluster-enabled', 'yes'], ['cluster-node-timeout', 2000],
            ['cluster-port', $self->bus($name)], ['cluster-require-full-coverage', 'no'],
            ['cluster-config-file', "$self->{dir}/$name.nodes"]);
    }
    my ($code, $out, $err) = Psync::run_argv(undef, undef, 'redis-cli', '--cluster', 'create',
        (map { '127.0.0.1:' . $self->port($_) } @names), '--cluster-yes');
    die "no cluster: $out$err" if $code != 0;
    Psync::until_true(30, sub {
        !grep { $self->ask($_, 'cluster', 'info') !~ /cluster_state:ok[\s\S]*known_nodes:3/ } @names;
    }) or die 'the cluster does not come up';
    return join ',', map { 'redis+cluster://127.0.0.1:' . $self->port($_) } @names;
}

sub id { return $_[0]->ask($_[1], 'cluster', 'myid') }

# Which node has the slot of a key now.
sub owner {
    my ($self, $key) = @_;
    my $slot = $self->ask('n1', 'cluster', 'keyslot', $key);
    my ($asked) = grep { $self->ask($_, 'ping') eq 'PONG' } qw(n1 n2 n3);
    for my $line (split /\n/, $self->ask($asked, 'cluster', 'nodes')) {
        my ($id, $at, @rest) = split ' ', $line;
        for my $range (@rest[6 .. $#rest]) {
            my ($from, $to) = $range =~ /^(\d+)(?:-(\d+))?$/ or next;
            next unless $slot >= $from && $slot <= ($to // $from);
            my ($name) = grep { $at =~ /:$self->{servers}{$_}{port}@/ } qw(n1 n2 n3);
            return $name;
        }
    }
    return;
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
