#!/usr/bin/perl
# A network that drops, delays, halves, resets and swallows what goes between our programs and the
# provider, Redis and PostgreSQL: every wait ends by its deadline, nothing is stuck afterwards, and
# every row ends equal.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use Psync;
use Test::More;
use Time::HiRes qw(sleep time);

my $long = Chaos::long_form();
my $chaos = Chaos->new(own_postgres => 1, proxied => 1, sim => ['--companies', 60,
    '--list-members', 40, '--contacts', 60, '--customers', 30]);
my $rig = $chaos->rig;
my $proxy = $rig->{proxy};
my $from = $rig->value('select last_value from psync.fetch_no');
my @modes = qw(drop delay halve reset);
my @targets = (['the provider', 'hubspot', 'stripe'], ['Redis', 'redis'],
    ['PostgreSQL', 'postgres']);
# The first byte of an answer, and an answer of PostgreSQL, are waited for 30 s; then come a second
# try, and patience with a busy machine.
my $limit = 100;

sub met {
    my $n = 0;
    $n += $proxy->met($_) for @_;
    return $n;
}

# A breaker that such a network opens stays so for a minute, and what failed comes again later and
# later. The long form waits for that.
sub do_not_wait {
    return if $long;
    $rig->hurry;
    return;
}

# Seconds that it took.
sub timed {
    my ($sub) = @_;
    my $began = time;
    $sub->();
    return time - $began;
}

# ---- a hole: nobody says that the bytes are gone ----
my $customer = $chaos->pick('customers');
$proxy->set($_ => 'hole') for qw(hubspot stripe);
$chaos->change(12);
wait_for('the workers call the provider, into the hole', 60, sub { met('hubspot', 'stripe') > 2 });
# A statement in a hole costs 30 s more, in a row with those of the provider.
$proxy->set(redis => 'hole');
$proxy->set(postgres => $long ? 'hole' : 'unheard');
my $r;
my $took = timed(sub {
    $r = $rig->deliver_stripe($rig->stripe_event('customer.updated',
        {id => $customer, object => 'customer'}));
});
is($r->{status}, 503, 'Redis in a hole: a delivery is answered 503');
cmp_ok($took, '<', 20, sprintf 'by its deadline, after %.1f s', $took);
ok($r->{headers}{'retry-after'}, 'and told when to come again');
for my $words (['status'], ['queue', 'stats']) {
    my ($code, $out, $err);
    $took = timed(sub { ($code, $out, $err) = $rig->cmd(@$words) });
    isnt($code, 0, "'@$words' says that it cannot");
    like($err, qr/PostgreSQL|Redis/, 'and who does not answer');
    cmp_ok($took, '<', 30, sprintf 'after %.1f s', $took);
}
cmp_ok(met('redis'), '>', 0, 'connections to Redis were swallowed');
cmp_ok(met('postgres'), '>', 0, 'and to PostgreSQL');
$proxy->set(all => 'pass');
my $last = $long ? $chaos->converges('everything was swallowed', $limit) : undef;

# ---- what breaks loudly, each of the three ----
for my $target (@targets) {
    my ($what, @names) = @$target;
    for my $mode (@modes) {
        for my $round (1 .. ($long ? 2 : 1)) {
            my $before = met(@names);
            $chaos->change(4);
            $proxy->set($_ => $mode) for @names;
            $rig->cmd('run-now', $round % 2 ? 'stripe' : 'hubspot') if $long;
            wait_for("$what: $mode, $round", 30, sub {
                $chaos->change(1);
                sleep 0.1;    # the pace of the changes
                return met(@names) > $before;
            });
            $chaos->change(3);
            sleep 3 if $long;    # how long the network stays broken
            $proxy->set($_ => 'pass') for @names;
            $last = $chaos->converges("$what: $mode, $round", $limit) if $long;
        }
    }
}
$chaos->change(4);
wait_for('nothing is left to do', $limit, sub {
    do_not_wait();
    return $rig->idle;
});
$last = $chaos->converges('a broken network', $limit);

# ---- nothing is stuck, nothing counts as failed ----
$chaos->logged($from);
wait_for('no run is left behind', 60, sub {
    $rig->value("select count(*) from psync.run where status in ('queued', 'running')") == 0;
});
is($rig->value("select count(*) from pg_stat_activity where state like 'idle in transaction%'"
    . " and state_change < now() - interval '5 s'"), 0, 'no transaction is left open');
cmp_ok($rig->value('select coalesce(max(duration_ms), 0) from psync.attempt'), '<', 120_000,
    'no attempt went on past its deadline');
is($rig->cmd_json('queue', 'stats')->{buried} // 0, 0, 'nothing needs a person');
is($rig->value("select count(*) from psync.connection where state <> 'connected'"), 0,
    'both connections are connected');
my %open = map { $_ => $proxy->open_now($_) } qw(redis postgres hubspot stripe);
note(join ', ', map { "$_: " . $proxy->met($_) . " connections met a fault, $open{$_} open now" }
    sort keys %open);
cmp_ok($open{$_}, '<', 80, "few connections to $_ are open") for sort keys %open;
Chaos::report($last);
done_testing;
