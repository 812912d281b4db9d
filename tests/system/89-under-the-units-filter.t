#!/usr/bin/perl
# Each program under the filter of system calls that its unit asks systemd for, as systemd's own
# lists have it: none makes a call that is not let through (it would be killed), in a full sync of
# both providers, deliveries, the page, commands and an orderly end.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Chaos;
use Psync;
use Test::More;

my $confined = Psync::root() . '/build/tools/confined';
my $sets = `systemd-analyze --no-pager syscall-filter 2>/dev/null`;
plan skip_all => 'no systemd-analyze, which knows what @system-service is' if $sets !~ /^\@system-service$/m;

# ---- what the units let through ----
my ($set, %sets);
for (split /\n/, $sets =~ s/\e\[[\d;]*m//gr) {
    $set = $1 if /^(@\S+)/;
    push @{$sets{$set}}, $1 if defined $set && /^ +([@\w-]+)$/;
}

sub calls {
    return map { my $name = $_; $name =~ /^@/ ? calls(@{$sets{$name} // die "no set $name"}) : $name } @_;
}
open my $unit, '<', Psync::root() . '/deploy/systemd/pivotal-sync-.service.d/10-common.conf' or die;
my (%let, $families);
while (<$unit>) {
    $families = $1 if /^RestrictAddressFamilies=(.*)/;
    next unless /^SystemCallFilter=(~?)(.*)/;
    my ($not, @named) = ($1, calls(split ' ', $2));
    $not ? delete @let{@named} : (@let{@named} = (1) x @named);
}
is $families, 'AF_UNIX AF_INET AF_INET6', 'families of sockets are those that the tool knows';
cmp_ok scalar keys %let, '>', 200, scalar(keys %let) . ' calls are let through';
ok !$let{$_}, "$_ is not" for qw(mount ptrace setuid kexec_load bpf reboot setpriority init_module);

# ---- programs that are run so ----
my $plain = Psync::bin();
my $chaos;
{
    my $dir = File::Temp::tempdir('psync-filter-XXXXXX', TMPDIR => 1, CLEANUP => 1);
    open my $calls, '>', "$dir/calls" or die;
    print {$calls} "$_\n" for sort keys %let;
    close $calls;
    for my $program (glob "$plain/pivotal-sync*") {
        my ($name) = $program =~ m{([^/]+)$};
        open my $f, '>', "$dir/$name" or die;
        # LeakSanitizer would trace the program at its end, which no unit may.
        print {$f} "#!/bin/sh\nASAN_OPTIONS=\$ASAN_OPTIONS:detect_leaks=0 exec ",
            $name =~ /-sim$/ ? '' : "'$confined' '$dir/calls' ", "'$program' \"\$@\"\n";
        close $f;
        chmod 0755, "$dir/$name";
    }
    my $rc = system($confined, "$dir/calls", qw(nice -n 5 true));
    is $rc & 127, 31, 'a call that is not let through kills (SIGSYS)';
    is system($confined, "$dir/calls", 'true'), 0, 'and nothing else does';
    $ENV{BIN} = $dir;
}
my $port = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')->sockport;
$chaos = Chaos->new(sim => ['--companies', 60, '--list-members', 50, '--contacts', 60, '--customers', 40],
    settings => {ADMIN_LISTEN => "127.0.0.1:$port", ADMIN_PUBLIC_URL => "http://127.0.0.1:$port"});
my $rig = $chaos->rig;
my @programs = (@{$chaos->{programs}}, 'admin');
$rig->start('admin');
$chaos->change(40);
my $c = $chaos->converges('with the filter', 60);
wait_for('the page is served', 20, sub { $rig->http('GET', "http://127.0.0.1:$port/")->{status} == 200 });
for my $program (@programs) {
    open my $f, '<', '/proc/' . $rig->pid($program) . '/status' or die;
    like join('', <$f>), qr/^Seccomp:\s+2$/m, "$program runs under it";
}
my ($token) = $rig->must('token', 'create', '--role', 'admin') =~ /(\S+)/;
is $rig->http('GET', "http://127.0.0.1:$port/api/v1/connections",
    headers => {Authorization => "Bearer $token"})->{status}, 200, 'and its API';
for my $words (['status'], ['doctor'], ['queue', 'fsck'], ['log', '-n', 5]) {
    my ($code, $out, $err) = $rig->cmd(@$words);
    cmp_ok $code, '<', 10, "'@$words' works" or diag "$code: $out$err";
}
kill 'HUP', $rig->pid('webhook-gw');
wait_for('settings are read anew', 20, sub { $rig->log_text('webhook-gw') =~ /config\.reloaded/ });
is $rig->stop($_), 0, "$_ ends with 0" for @programs;
Chaos::report($c);
done_testing;
