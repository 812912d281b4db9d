#!/usr/bin/perl
# The disk of Redis is full, then that of PostgreSQL's tablespace; small file systems of their
# own, so that nothing else meets it. Without a hand but for the room on the disk every row ends
# equal, and every fetch that was written has its line in the log.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use Psync;
use Test::More;
use Time::HiRes qw(sleep time);

my @mounted;
END { system 'umount', '-l', $_ for reverse @mounted }

# A file system of that size in a folder that is empty. Mounting is for root, and not in every
# container.
sub small_disk {
    my ($path, $mb, @owner) = @_;
    return 0 if $> != 0;
    mkdir $path;
    my ($code) = Psync::run_argv(undef, undef, 'mount', '-t', 'tmpfs', '-o', "size=${mb}m,mode=700",
        'tmpfs', $path);
    return 0 if $code != 0;
    push @mounted, $path;
    chown @owner, $path if @owner;
    return 1;
}

# Fill it to the last byte; what is written then meets the end of the disk.
sub fill {
    my ($path, $leave_bytes) = @_;
    open my $f, '>', "$path/filler" or die "'$path/filler': $!";
    my $block = 'x' x 4096;
    while (defined syswrite $f, $block) { }
    my $size = (-s $f) - $leave_bytes;
    truncate $f, $size > 0 ? $size : 0;
    close $f;
}
sub make_room { unlink "$_[0]/filler" }

my $probe = File::Temp::tempdir('psync-sys-XXXXXX', TMPDIR => 1, CLEANUP => 1);
plan skip_all => 'a small file system needs the right to mount one' if !small_disk($probe, 1);
system 'umount', pop @mounted;

my $long = Chaos::long_form();
my $rounds = $long ? 3 : 1;
my $chaos = Chaos->new(own_postgres => 1, sim => ['--companies', 80, '--list-members', 60,
    '--contacts', 80, '--customers', 40]);
my $rig = $chaos->rig;
my $dir = $rig->dir;
my $from = $rig->value('select last_value from psync.fetch_no');
my $last;

sub deliver {
    my $customer = $chaos->pick('customers');
    return $rig->deliver_stripe($rig->stripe_event('customer.updated',
        {id => $customer, object => 'customer'}))->{status};
}

# ---- Redis ----
# It holds nothing that PostgreSQL does not know; so it may begin anew on the small disk.
$rig->stop_redis;
# Room for what all the rounds write to its log, which is not rewritten below 64 MB.
ok(small_disk("$dir/redis", 60), 'Redis gets a disk of 60 MB');
$rig->start_redis;
$chaos->change(8);
for my $round (1 .. $rounds) {
    fill("$dir/redis", 0);
    my %answers;
    my $ended = Psync::until_true(60, sub {
        $chaos->change(2);
        $answers{deliver()}++;
        return !$rig->running('redis');
    });
    ok($ended, 'with its disk full, Redis ends rather than say yes');
    my $until = time + ($long ? 10 : 1);
    do {
        $chaos->change(1);
        $answers{deliver()}++;
    } while (time < $until);
    is(join(' ', grep { $_ != 200 && $_ != 503 } keys %answers), '', 'no delivery is refused');
    cmp_ok($answers{503} // 0, '>', 0, "$answers{503} were told to come again");
    # Its supervisor starts it again and again; it stays when there is room.
    make_room("$dir/redis");
    $rig->start_redis;
    $last = $chaos->converges("Redis' disk was full, $round", 35);
}

# ---- PostgreSQL ----
# The whole database moves to a tablespace of its own; nobody may be in it meanwhile.
$rig->stop($_) for @{$chaos->{programs}};
my @postgres = (getpwnam 'postgres')[2, 3];
ok(small_disk("$dir/pgspace", 96, @postgres), 'PostgreSQL gets a disk of 96 MB');
(my $template = $rig->{server_url}) =~ s{/postgres\?}{/template1?};
Psync::psql($template, "create tablespace small location '$dir/pgspace'");
Psync::psql($template, 'alter database postgres set tablespace small');
$chaos->revive;
$chaos->change(8);
for my $round (1 .. $rounds) {
    fill("$dir/pgspace", 0);
    # Pages have room left; the end is met when a table wants to grow.
    my $met = Psync::until_true(60, sub {
        $chaos->change(10);
        return grep { $rig->log_text($_) =~ /could not extend file|No space left/ }
            @{$chaos->{programs}};
    });
    ok($met, 'with its disk full, PostgreSQL refuses to write');
    is(deliver(), 200, 'deliveries are taken all the same');
    my $until = time + ($long ? 20 : 1);
    do { $chaos->change(1) } while (time < $until);
    make_room("$dir/pgspace");
    $last = $chaos->converges("PostgreSQL's disk was full, $round", 35);
}

$chaos->logged($from);
is($rig->value("select count(*) from psync.attempt where status = 'failed' and error_code in"
    . " ('db_unavailable', 'queue_unavailable', 'internal_error', 'worker_lost', 'db_rejected')"),
    0, 'nothing of it counts as a failed attempt');
is($rig->cmd_json('queue', 'stats')->{buried} // 0, 0, 'nothing needs a person');
Chaos::report($last);
done_testing;
