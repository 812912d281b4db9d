# What the fault tests share: a rig with both providers connected, changes under the eyes of the
# mirror, programs that are killed and come back, and the comparison of every row with what the
# simulator holds.
#
#   my $chaos = Chaos->new(sim => [...], settings => {...});
#   $chaos->change(20);
#   $chaos->kill_at('save.commit');
#   $chaos->converges('after the kill', 60);
#
# CHAOS=1 is the long form. Each comparison that ends a test adds its counts to the file that
# CHAOS_COUNTS names, from which `make chaos` makes its last line.
package Chaos;
use strict;
use warnings;

use Psync;
use Test::More;
use Time::HiRes qw(sleep time);

sub long_form { return ($ENV{CHAOS} // '') eq '1' }

# Options of Psync->new, and workers (how many), before (a sub, before the accounts are connected,
# which starts their first full syncs), no_sync (do not wait for those).
sub new {
    my ($class, %o) = @_;
    my $workers = delete $o{workers} // 2;
    my ($no_sync, $before) = delete @o{qw(no_sync before)};
    my $rig = Psync->new(%o);
    my $self = bless {rig => $rig, kills => 0, changes => 0, crash => $rig->dir . '/crash'}, $class;
    mkdir $self->{crash};
    $self->{programs} = ['webhook-gw', 'scheduler', 'worker', map { "worker-$_" } 2 .. $workers];
    $self->armed(sub { $rig->start(@{$self->{programs}}) });
    $before->($rig) if $before;
    $rig->connect_hubspot(hooks => 1);
    $rig->connect_stripe(hooks => 1);
    $rig->sim(POST => 'webhooks/config', {retry_factor => 0.001});
    if (!$no_sync) {
        $rig->run_now('hubspot');
        $rig->run_now('stripe');
    }
    $self->{companies} = $rig->sim_hubspot(GET => 'companies?list=42&ids=1');
    $self->{contacts} = $rig->sim_hubspot(GET => 'contacts?companies_of=42&ids=1');
    $self->{customers} = $rig->sim_stripe(GET => 'customers?ids=1');
    $self->{subscriptions} = $rig->sim_stripe(GET => 'subscriptions?status=active&ids=1');
    return $self;
}

sub rig { return $_[0]{rig} }

# Only the programs that run all the time are killed, not the commands of the test.
sub armed {
    my ($self, $sub) = @_;
    local $self->{rig}{settings}{TEST_CRASH_DIR} = $self->{crash};
    return $sub->();
}

# ---- changes ----

sub pick {
    my ($self, $what) = @_;
    my $ids = $self->{$what};
    my $id = $ids->[rand @$ids];
    return ref $id ? $id->{id} : $id;
}

# n changes that webhooks tell: of fields, of a subscription, now and then something leaves.
sub change {
    my ($self, $n, %notify) = @_;
    my $rig = $self->{rig};
    for (1 .. $n) {
        my $no = ++$self->{changes};
        my $which = $no % 4;
        if ($which == 0) {
            $rig->sim_hubspot(PATCH => 'companies/' . $self->pick('companies'),
                {properties => {name => "Company $no", industry => "I$no"}, %notify});
        }
        elsif ($which == 1) {
            $rig->sim_stripe(PATCH => 'customers/' . $self->pick('customers'),
                {name => "Customer $no", %notify});
        }
        elsif ($which == 2) {
            $rig->sim_hubspot(PATCH => 'contacts/' . $self->pick('contacts'),
                {properties => {firstname => "First $no"}, %notify});
        }
        else {
            $rig->sim_stripe(PATCH => 'subscriptions/' . $self->pick('subscriptions'),
                {metadata => {change => "$no"}, %notify});
        }
        next if $no % 25 || @{$self->{customers}} < 30;
        my $i = int rand @{$self->{customers}};
        my ($gone) = splice @{$self->{customers}}, $i, 1;
        $gone = $gone->{id} if ref $gone;
        $rig->sim_stripe(DELETE => "customers/$gone");
        $self->{subscriptions} = $rig->sim_stripe(GET => 'subscriptions?status=active&ids=1');
    }
    return;
}

# ---- killing ----

# Arm a point; answers the moment of the kill, or undef when nobody passed there in time. The
# sub makes traffic until then. What died is started again.
sub kill_at {
    my ($self, $point, $seconds, $traffic) = @_;
    my $path = "$self->{crash}/$point";
    open my $f, '>', $path or die "'$path': $!";
    close $f;
    my $deadline = time + $seconds;
    while (-e $path && time < $deadline) {
        $traffic->();
    }
    if (unlink $path) {
        diag("nobody passed $point within $seconds s");
        return;
    }
    my $at = time;
    $self->{kills}++;
    $self->revive;
    return $at;
}

# Every program that ended is started again, and every worker whose only child ended: its parent
# would wait longer and longer, as it should.
sub revive {
    my ($self) = @_;
    my $rig = $self->{rig};
    for my $name (@{$self->{programs}}) {
        if ($name =~ /^worker/ && $rig->running($name)) {
            my $died = Psync::until_true(0.03,
                sub { !$rig->children_of($rig->pid($name)) });
            $rig->stop($name, 'KILL') if $died;
        }
        $self->armed(sub { $rig->start($name) }) unless $rig->running($name);
    }
    return;
}

# kill -9 of one of them from outside, at no point in particular.
sub kill_program {
    my ($self, $name) = @_;
    $self->{rig}->stop($name, 'KILL');
    $self->{kills}++;
    $self->armed(sub { $self->{rig}->start($name) });
    return;
}

# ---- comparing ----

sub same {
    my ($truth, $ours) = @_;
    return !defined $truth && !defined $ours unless defined $truth && defined $ours;
    my ($t, $o) = (ref $truth, ref $ours);
    if ($t eq 'HASH' && $o eq 'HASH') {
        return same($truth->{data}, $ours->{data}) if ($truth->{object} // '') eq 'list';
        same($truth->{$_}, $ours->{$_}) or return 0 for keys %$truth;
        return 1;
    }
    if ($t eq 'ARRAY' && $o eq 'ARRAY') {
        return 0 if @$truth != @$ours;
        same($truth->[$_], $ours->[$_]) or return 0 for 0 .. $#$truth;
        return 1;
    }
    # An id where the mirror holds the object, or the other way round.
    return ($truth->{id} // '') eq $ours if $t eq 'HASH' && $o eq '';
    return ($ours->{id} // '') eq $truth if $t eq '' && $o eq 'HASH';
    return 0 if $t eq 'ARRAY' || $o eq 'ARRAY';
    return 1 if "$truth" eq "$ours";
    no warnings 'numeric';
    return "$truth" =~ /^-?[\d.e+-]+$/i && "$ours" =~ /^-?[\d.e+-]+$/i && $truth == $ours;
}

sub ours {
    my ($self, $provider, $object) = @_;
    my $text = $self->{rig}->value("select r.record_id || ' ' || r.raw from psync.record r"
        . " join psync.connection c using (connection_id) where c.provider = '$provider'"
        . " and r.object_type = '$object' and r.deleted_at is null and r.in_scope");
    my %ours = map { my ($id, $raw) = split / /, $_, 2; ($id => json->decode($raw)) }
        split /\n/, $text;
    return \%ours;
}

sub note_difference {
    my ($c, $kind, $text) = @_;
    $c->{$kind}++;
    push @{$c->{lines}}, $text if @{$c->{lines}} < 12;
    return;
}

sub compare_hubspot {
    my ($self, $c, $object, $path, $extra_ok) = @_;
    my $ours = $self->ours('hubspot', $object);
    for my $truth (@{$self->{rig}->sim_hubspot(GET => $path)}) {
        my $mine = delete $ours->{$truth->{id}};
        $c->{of}++;
        if (!$mine) {
            note_difference($c, 'lost', "$object $truth->{id} is missing");
            next;
        }
        my ($t, $o) = ($truth->{properties}, $mine->{properties});
        my ($differs) = grep { exists $t->{$_} && !same($t->{$_}, $o->{$_}) } sort keys %$o;
        note_difference($c, 'wrong', "$object $truth->{id}: $differs") if defined $differs;
    }
    note_difference($c, 'wrong', "$object $_ should not be here") for sort keys %$ours;
    return;
}

sub compare_stripe {
    my ($self, $c, $object, $plural) = @_;
    my $ours = $self->ours('stripe', $object);
    my $oldest = time - 395 * 86400;
    for my $truth (@{$self->{rig}->sim_stripe(GET => $plural)}) {
        my $mine = delete $ours->{$truth->{id}};
        next if $truth->{deleted} && !$mine;
        next if $object eq 'invoice' && $truth->{created} < $oldest;
        $c->{of}++;
        if (!$mine) {
            note_difference($c, 'lost', "$object $truth->{id} is missing");
        }
        elsif ($truth->{deleted} || !same($truth, $mine)) {
            note_difference($c, 'wrong', "$object $truth->{id} differs");
        }
    }
    note_difference($c, 'wrong', "$object $_ should not be here") for sort keys %$ours;
    return;
}

# {lost, wrong, of, lines}: every row of the mirror against the simulator.
sub compare {
    my ($self) = @_;
    my $c = {lost => 0, wrong => 0, of => 0, lines => []};
    $self->compare_hubspot($c, 'company', 'companies?list=42');
    $self->compare_hubspot($c, 'contact', 'contacts?companies_of=42');
    $self->compare_stripe($c, @$_)
        for ['customer', 'customers'], ['subscription', 'subscriptions'], ['price', 'prices'],
        ['product', 'products'], ['coupon', 'coupons'], ['invoice', 'invoices'];
    return $c;
}

# Passes when, before the deadline, nothing waits and every row is equal. Returns the counts, and
# in equal_at since when at the latest.
sub converges {
    my ($self, $what, $seconds) = @_;
    my ($rig, $began, $c) = ($self->{rig}, time);
    my $deadline = time + $seconds;
    for (;;) {
        $self->revive;
        my $at = time;
        $c = $self->compare if eval { $rig->idle } || time > $deadline;
        $c->{equal_at} = $at if $c;    # what is found equal was so by then
        last if $c && ($c->{lost} + $c->{wrong} == 0 || time > $deadline);
        sleep 0.2;
    }
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok($c->{lost} + $c->{wrong} == 0, "$what: every row is the simulator's")
        or diag(join "\n", @{$c->{lines}}), $rig->tell_state;
    my ($code, $out) = $rig->cmd('queue', 'fsck');
    is($code, 0, "$what: the queue is sound") or diag($out);
    note(sprintf '%s: lost %d, wrong %d, of %d; %d kills, %d changes, equal after %.1f s', $what,
        @$c{qw(lost wrong of)}, $self->{kills}, $self->{changes}, time - $began);
    return $c;
}

# Passes when every fetch since then that was written has its row in the log: the record's own,
# or that of its chunk.
sub logged {
    my ($self, $fetch_no) = @_;
    my $none = "from psync.record_seen s where s.fetch_no > $fetch_no and not exists (select from"
        . ' psync.attempt a where a.connection_id = s.connection_id and a.fetch_no = s.fetch_no'
        . ' and (a.record_id is null or a.record_id = s.record_id))';
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    is($self->{rig}->value("select count(*) $none"), 0, 'each fetch that was written has its log row')
        or diag($self->{rig}->value("select object_type, record_id, fetch_no, state $none limit 9"));
    return;
}

# The counts of a test go to the last line of `make chaos`.
sub report {
    my ($c) = @_;
    my $path = $ENV{CHAOS_COUNTS} or return;
    open my $f, '>>', $path or die "'$path': $!";
    print {$f} "$c->{lost} $c->{wrong} $c->{of}\n";
    close $f or die "'$path': $!";
    return;
}

1;
