# TCP proxies that break, one process for all of them: what stands between our programs and the
# provider, Redis and PostgreSQL when a network is at fault.
#
#   my $proxy = Proxy->new(redis => "unix:$dir/redis.sock", hubspot => '127.0.0.1:4711');
#   $proxy->port('redis');
#   $proxy->set(redis => 'reset');    # done when it returns, for the connections that are open too
#   $proxy->met('redis');             # connections that met a fault so far
#
# pass     everything goes on
# drop     each connection is closed, the open ones and those that come
# delay    every piece of bytes is held for 300 ms, either way
# halve    of the next piece that the server sends a half goes on, then the connection is closed
# reset    as drop, by RST: at once for the open ones, after their first bytes for those that come
# hole     everything is taken and nothing goes on. What was in a hole stays there, also when the
#          others pass again: its bytes are gone, and nobody says so
# unheard  as hole, for connections that come; those that are open go on
package Proxy;
use strict;
use warnings;

use IO::Handle;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX ();
use Socket qw(SOL_SOCKET SO_LINGER);
use Time::HiRes qw(time);

use constant {PIECE_BYTES => 65536, KEPT_BYTES => 1 << 20, DELAY_S => 0.3};

sub new {
    my ($class, %targets) = @_;
    my $self = bless {ports => {}}, $class;
    my %listeners;
    for my $name (sort keys %targets) {
        my $l = IO::Socket::INET->new(Listen => 512, LocalAddr => '127.0.0.1', Blocking => 0)
            or die "cannot listen: $!";
        $self->{ports}{$name} = $l->sockport;
        $listeners{$name} = $l;
    }
    socketpair my $ours, my $theirs, Socket::AF_UNIX(), Socket::SOCK_STREAM(), 0
        or die "socketpair: $!";
    my $parent = $$;
    $self->{pid} = fork // die "fork: $!";
    if ($self->{pid} == 0) {
        close $ours;
        $SIG{$_} = 'DEFAULT' for qw(TERM INT HUP);
        local $SIG{PIPE} = 'IGNORE';
        eval { run($theirs, \%targets, \%listeners) };
        print STDERR "proxy: $@" if $@;
        POSIX::_exit(0);
    }
    close $theirs;
    $ours->autoflush(1);
    $self->{control} = $ours;
    return $self;
}

sub pid { return $_[0]{pid} }
sub port { return $_[0]{ports}{$_[1]} }

# Every name, or one: 'all'.
sub set { return ask($_[0], "set $_[1] $_[2]") }
sub met { return ask($_[0], "met $_[1]") }
sub open_now { return ask($_[0], "open $_[1]") }

sub ask {
    my ($self, $line) = @_;
    print {$self->{control}} "$line\n";
    my $answer = readline $self->{control};
    die "the proxy has ended\n" unless defined $answer;
    chomp $answer;
    return $answer;
}

# ---- the process ----

# A pair is {name, a, b, ends => {fileno => side}, bytes => {a => [[due, bytes]...], b => ...}}:
# a is the program's side, b the server's, and bytes{a} is what waits to be sent to a.
my (%pairs, %mode, %met, %by_fd);

sub close_pair {
    my ($p, $reset) = @_;
    for my $side (qw(a b)) {
        my $h = delete $p->{$side} or next;
        delete $by_fd{fileno $h};
        setsockopt $h, SOL_SOCKET, SO_LINGER, pack('ii', 1, 0) if $reset;
        close $h;
    }
    delete $pairs{$p};
    return;
}

sub fault {
    my ($p) = @_;
    $met{$p->{name}}++ unless $p->{met}++;
    return;
}

sub set_mode {
    my ($names, $mode) = @_;
    for my $name ($names eq 'all' ? keys %mode : $names) {
        $mode{$name} = $mode;
        for my $p (grep { $_->{name} eq $name && !$_->{lost} } values %pairs) {
            if ($mode eq 'drop' || $mode eq 'reset') {
                fault($p);
                close_pair($p, $mode eq 'reset');
            }
            elsif ($mode eq 'hole') {
                fault($p);
                $p->{lost} = 1;
            }
        }
    }
    return;
}

sub server_of {
    my ($target) = @_;
    return IO::Socket::UNIX->new(Peer => $1, Blocking => 0) if $target =~ /^unix:(.*)/;
    return IO::Socket::INET->new(PeerAddr => $target, Blocking => 0);
}

sub take {
    my ($listener, $name, $target) = @_;
    my $a = $listener->accept or return;
    $a->blocking(0);
    my $p = {name => $name, a => $a, out => {a => [], b => []}, kept => {a => 0, b => 0}};
    if ($mode{$name} eq 'drop') {
        fault($p);
        close $a;
        return;
    }
    if ($mode{$name} eq 'hole' || $mode{$name} eq 'unheard') {
        fault($p);
        $p->{lost} = 1;
    }
    else {
        # Nobody there: as if there were no proxy, the connection ends.
        $p->{b} = server_of($target) or return close $a;
        $by_fd{fileno $p->{b}} = [$p, 'b'];
    }
    $by_fd{fileno $a} = [$p, 'a'];
    $pairs{$p} = $p;
    return;
}

# Bytes came from one side.
sub came {
    my ($p, $side) = @_;
    my $n = sysread $p->{$side}, my $bytes, PIECE_BYTES;
    return if !defined $n && $!{EAGAIN};
    if (!$n) {
        # Who has lost its bytes hears nothing of the other's end either.
        return close_pair($p) if !$p->{lost} || $side eq 'a';
        delete $by_fd{fileno $p->{b}};
        close delete $p->{b};
        return;
    }
    return if $p->{lost};
    my $mode = $mode{$p->{name}};
    if ($mode eq 'reset') {
        fault($p);
        return close_pair($p, 1);
    }
    if ($mode eq 'halve' && $side eq 'b') {
        fault($p);
        $p->{ends} = 1;
        substr($bytes, int($n / 2)) = '';
    }
    fault($p) if $mode eq 'delay';
    my $other = $side eq 'a' ? 'b' : 'a';
    push @{$p->{out}{$other}}, [$mode eq 'delay' ? time + DELAY_S : 0, $bytes];
    $p->{kept}{$other} += length $bytes;
    return;
}

sub send_what_is_due {
    my ($p, $now) = @_;
    for my $side (qw(a b)) {
        my $queue = $p->{out}{$side};
        while (@$queue && $queue->[0][0] <= $now && $p->{$side}) {
            my $n = syswrite $p->{$side}, $queue->[0][1];
            if (!defined $n) {
                last if $!{EAGAIN};
                return close_pair($p);
            }
            $p->{kept}{$side} -= $n;
            last if $n < length $queue->[0][1] && (substr($queue->[0][1], 0, $n) = '', 1);
            shift @$queue;
        }
    }
    close_pair($p) if $p->{ends} && !@{$p->{out}{a}};
    return;
}

sub obey {
    my ($control) = @_;
    my $line = readline $control;
    POSIX::_exit(0) unless defined $line;    # the test has ended
    my ($word, $name, $mode) = split ' ', $line;
    my $answer = 'ok';
    if ($word eq 'set') {
        set_mode($name, $mode);
    }
    elsif ($word eq 'met') {
        $answer = $met{$name} // 0;
    }
    else {
        $answer = grep { $_->{name} eq $name } values %pairs;
    }
    syswrite $control, "$answer\n";
    return;
}

sub run {
    my ($control, $targets, $listeners) = @_;
    $mode{$_} = 'pass' for keys %$targets;
    my %name_of = map { (fileno $listeners->{$_} => $_) } keys %$listeners;
    for (;;) {
        my ($reads, $writes) = (IO::Select->new($control, values %$listeners), IO::Select->new);
        my ($now, $wait) = (time, undef);
        for my $p (values %pairs) {
            for my $side (grep { $p->{$_} } qw(a b)) {
                my $other = $side eq 'a' ? 'b' : 'a';
                $reads->add($p->{$side})
                    if !$p->{ends} && ($p->{kept}{$other} // 0) < KEPT_BYTES;
                my $first = $p->{out}{$side}[0] or next;
                if ($first->[0] <= $now) {
                    $writes->add($p->{$side});
                }
                elsif (!defined $wait || $first->[0] - $now < $wait) {
                    $wait = $first->[0] - $now;
                }
            }
        }
        my ($can_read, $can_write) = IO::Select->select($reads, $writes->count ? $writes : undef,
            undef, $wait);
        for my $h (@{$can_read // []}) {
            my $fd = fileno $h;
            if (!defined $fd) {
                next;    # closed by what came before it in this turn
            }
            elsif ($h == $control) {
                obey($control);
            }
            elsif (my $name = $name_of{$fd}) {
                take($h, $name, $targets->{$name});
            }
            elsif (my $end = $by_fd{$fd}) {
                came(@$end) if $end->[0]{$end->[1]} && $end->[0]{$end->[1]} == $h;
            }
        }
        send_what_is_due($_, time) for values %pairs;
    }
    return;
}

1;
