# A program at a pseudo-terminal, with nothing but what Perl brings.
#
#   my $pty = Pty->new([$program, @words], columns => 80, lines => 24, env => {...});
#   $pty->read_until(qr/started/, 20);
#   $pty->resize(40, 24);
#   $pty->type("\cC");
#   is $pty->end(10), 130;
package Pty;
use strict;
use warnings;

use Fcntl qw(O_RDWR O_NOCTTY);
use IO::Select;
use POSIX qw(:sys_wait_h dup2 setsid);
use Time::HiRes qw(sleep time);

use constant {TIOCSPTLCK => 0x40045431, TIOCGPTN => 0x80045430, TIOCSWINSZ => 0x5414};

sub new {
    my ($class, $argv, %o) = @_;
    sysopen my $master, '/dev/ptmx', O_RDWR | O_NOCTTY or die "/dev/ptmx: $!";
    my $unlock = pack 'i', 0;
    ioctl $master, TIOCSPTLCK, $unlock or die "TIOCSPTLCK: $!";
    my $number = pack 'I', 0;
    ioctl $master, TIOCGPTN, $number or die "TIOCGPTN: $!";
    my $slave = '/dev/pts/' . unpack 'I', $number;
    my $self = bless {master => $master, text => '', seen => 0}, $class;
    $self->resize($o{columns} // 80, $o{lines} // 24);
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        %ENV = (%{$o{env}}, TERM => 'xterm', %{$o{more_env} // {}}) if $o{env};
        setsid();
        close $master;
        # The first terminal that a session leader opens becomes its own.
        sysopen my $tty, $slave, O_RDWR or POSIX::_exit(126);
        dup2(fileno $tty, $_) for 0 .. 2;
        { exec 'setpriv', '--pdeathsig', 'KILL', @$argv }
        POSIX::_exit(127);
    }
    $self->{pid} = $pid;
    return $self;
}

sub resize {
    my ($self, $columns, $lines) = @_;
    my $size = pack 'S4', $lines, $columns, 0, 0;
    ioctl $self->{master}, TIOCSWINSZ, $size or die "TIOCSWINSZ: $!";
    return;
}

sub type {
    my ($self, $text) = @_;
    syswrite $self->{master}, $text;
    return;
}

# Everything that came so far.
sub text { return $_[0]{text} }

# Takes what is there, waiting at most so long. False at the end of the program.
sub take {
    my ($self, $seconds) = @_;
    my $select = IO::Select->new($self->{master});
    return 1 unless $select->can_read($seconds);
    my $n = sysread $self->{master}, $self->{text}, 65536, length $self->{text};
    return $n ? 1 : 0;    # EIO: the program has gone
}

# What came behind the last match until the pattern; undef when it does not come in time.
sub read_until {
    my ($self, $pattern, $seconds) = @_;
    my $deadline = time + $seconds;
    for (;;) {
        my $rest = substr $self->{text}, $self->{seen};
        if ($rest =~ /$pattern/) {
            $self->{seen} += $+[0];
            return substr $rest, 0, $+[0];
        }
        return if time > $deadline;
        if (!$self->take(0.1)) {
            return substr($self->{text}, $self->{seen}) =~ /$pattern/ ? '' : undef;
        }
    }
}

# Its exit code; undef when it had to be killed.
sub end {
    my ($self, $seconds) = @_;
    my $deadline = time + $seconds;
    while (time < $deadline) {
        last unless $self->take(0.1);
    }
    while (time < $deadline) {
        if (waitpid($self->{pid}, WNOHANG) != 0) {
            my $status = $?;
            delete $self->{pid};
            return $status & 127 ? 128 + ($status & 127) : $status >> 8;
        }
        sleep 0.02;
    }
    $self->DESTROY;
    return;
}

sub DESTROY {
    my ($self) = @_;
    my $pid = delete $self->{pid} or return;
    local ($?, $!);
    kill 'KILL', $pid;
    waitpid $pid, 0;
    return;
}

1;
