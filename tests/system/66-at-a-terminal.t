#!/usr/bin/perl
# The command at a terminal (progress, watching, resizing, Ctrl-C, questions) and through a pipe
# (no escape codes, no questions), and the forms of its results.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Pty;
use Test::More;

my $rig = Psync->new(sim => [qw(--companies 30 --list-members 24 --contacts 0 --customers 20)]);
$rig->must(qw(workspace set acme --tz Asia/Tokyo));
$rig->start(qw(webhook-gw scheduler worker));
$rig->connect_hubspot;
is $rig->run_now('hubspot'), 0, 'a first full sync';
my @members = @{$rig->sim(GET => 'hubspot/1234567/companies?list=42&ids=1')};
$rig->must('resync', 'hubspot', $members[$_], '--wait') for 6 .. 8;

sub at_terminal {
    my ($words, %o) = @_;
    return Pty->new([Psync::bin() . '/pivotal-sync', @$words], env => {$rig->environment}, %o);
}

# What is visible of a text: escape codes take no room.
sub lines_of {
    my ($text) = @_;
    $text =~ s/\e\[[0-9;?]*[A-Za-z]//g;
    return split /[\r\n]+/, $text;
}

sub widest {
    my ($text) = @_;
    utf8::decode($text);
    my $widest = 0;
    for (lines_of($text)) {
        $widest = length if length > $widest;
    }
    return $widest;
}

# ---- a run ----
my $hold = $rig->fault(provider => 'stripe', regex => '/v1/customers', times => -1,
    until_released => JSON::PP::true);
$rig->connect_stripe;    # its first full sync stands still at the customers
{
    my $pty = at_terminal([qw(run-now stripe --wait)]);
    ok defined $pty->read_until(qr/running already/, 20), 'the run that is live is shown';
    ok defined $pty->read_until(qr/\r\e\[K\w+  (?:\[[#-]{20}\]  \d+|\d+ records)[^\r]*\d+\/s/, 20),
        'a bar or a count, drawn in place';
    my $before = length $pty->text;
    $pty->resize(30, 24);
    ok defined $pty->read_until(qr/\r\e\[K[^\r]{0,29}\r/, 20), 'a narrow terminal';
    $pty->read_until(qr/\r\e\[K[^\r]*\r\e\[K[^\r]*\r/, 20);
    my @drawn = split /\r\e\[K/, substr $pty->text, $before;
    cmp_ok length($drawn[-2]), '<', 30, 'no line is longer than it';
    $pty->type("\cC");
    is $pty->end(10), 130, '130: Ctrl-C';
    like $pty->text, qr/Run \d+ goes on/, 'which says that the run goes on';
    is $rig->value("select count(*) from psync.run where status in ('queued', 'running')"), 1,
        'and it does';
}
{
    $rig->cmd_start('piped', qw(run-now stripe --wait));
    $rig->sim(DELETE => "faults/$hold");
    is $rig->cmd_end('piped', 60), 0, 'the same through a pipe';
    my $said = $rig->log_text('piped');
    like $said, qr/^Done in/m, 'it says how it ended';
    unlike $said, qr/[\e\r]/, 'without escape codes';
}

# ---- status --watch ----
{
    my $pty = at_terminal([qw(status --watch --interval 200ms)]);
    ok defined $pty->read_until(qr/\e\[\?25l\e\[H\e\[2J.*Queue /s, 20), 'status --watch draws';
    my $first = $pty->text;
    cmp_ok widest($first), '<=', 80, 'no line is wider than 80 columns';
    $pty->read_until(qr/\e\[H(?!\e\[2J).*?\e\[J/s, 20);
    $pty->resize(50, 12);
    my $narrow;
    Psync::until_true(20, sub {
        my $picture = $pty->read_until(qr/\e\[H.*?\e\[J/s, 5) // return 1;
        $picture =~ s/^.*\e\[H//s;
        $narrow = $picture;
        return widest($picture) <= 50 && scalar(lines_of($picture)) <= 12;
    });
    cmp_ok widest($narrow), '<=', 50, 'after a resize no wider than 50';
    like $narrow, qr/more than fits/, 'and what does not fit is said';
    $pty->type("\cC");
    is $pty->end(10), 130, '130: Ctrl-C';
    like $pty->text, qr/\e\[\?25h/, 'the cursor is back';
}
{
    $rig->cmd_start('watch', qw(status --watch --interval 200ms));
    my $read = sub { open my $f, '<', $rig->dir . '/log/watch.out' or return ''; local $/; <$f> // '' };
    wait_for('status --watch through a pipe prints line after line', 20,
        sub { (() = $read->() =~ /^acme hubspot live connected, incremental/mg) > 2 });
    unlike $read->(), qr/[\e\r]/, 'without escape codes';
    kill 'INT', $rig->pid('watch');
    is $rig->cmd_end('watch', 10), 130, '130: interrupted';
}

# ---- log --follow ----
{
    $rig->cmd_start('follow', qw(log hubspot --follow -o json -n 3));
    my $read = sub {
        open my $f, '<', $rig->dir . '/log/follow.out' or return;
        return map { json->decode($_) } <$f>;
    };
    wait_for('log --follow begins with the last ones', 20, sub { scalar($read->()) == 3 });
    $rig->must('resync', 'hubspot', $members[$_], '--wait') for 0 .. 2;
    wait_for('and goes on with each new one', 20, sub { scalar($read->()) == 6 });
    my @rows = $read->();
    is_deeply [map { $_->{record_id} } @rows[3 .. 5]], [@members[0 .. 2]], 'in their order';
    my %ids = map { $_->{attempt_id} => 1 } @rows;
    is scalar(keys %ids), 6, 'none twice';
    kill 'INT', $rig->pid('follow');
    is $rig->cmd_end('follow', 10), 130, '130: interrupted';
}

# ---- tables ----
$rig->sim_hubspot(PATCH => "companies/$members[$_]", {properties => {annualrevenue => 'much'},
    notify => JSON::PP::false}) for 0 .. 3;
$rig->cmd('resync', 'hubspot', $members[$_], '--wait') for 0 .. 3;
for my $columns (80, 120) {
    for my $words (['log'], [qw(run list)], [qw(customer list)], [qw(connection list)], ['audit'],
        ['doctor'], ['help'], ['quota'], ['status'], ['explain'], [qw(link list)],
        [qw(help log)], ['diagnose'])
    {
        my $pty = at_terminal([@$words, '--no-pager'], columns => $columns, lines => 50,
            more_env => {PAGER => 'cat'});
        defined $pty->end(30) or diag "@$words does not end";
        my @wide = grep { my $l = $_; utf8::decode($l); length $l > $columns } lines_of($pty->text);
        is "@wide", '', "@$words fits $columns columns";
    }
}
{
    my $text = sub {
        my ($env, @words) = @_;
        my $pty = at_terminal(['status', @words], more_env => $env);
        $pty->end(20);
        return $pty->text;
    };
    like $text->({}), qr/\e\[32mconnected/, 'colour at a terminal';
    like $text->({NO_COLOR => ''}), qr/\e\[32mconnected/, 'NO_COLOR that is empty says nothing';
    unlike $text->({NO_COLOR => 1}), qr/\e\[\d+m/, 'NO_COLOR: none';
    unlike $text->({}, '--no-color'), qr/\e\[\d+m/, '--no-color: none';
    unlike $text->({TERM => 'dumb'}), qr/\e/, 'TERM=dumb: no escape codes at all';
    my $pty = at_terminal([qw(explain --no-color)], lines => 10, columns => 60,
        more_env => {PAGER => "sed 's/^/paged: /'"});
    is $pty->end(20), 0, 'a list longer than the terminal';
    like $pty->text, qr/paged: map_type_mismatch/, 'goes through the pager';
    $pty = at_terminal(['help'], lines => 10, more_env => {PAGER => "sleep 0.3; sed 's/^/paged: /'"});
    is $pty->end(20), 0, 'so does help';
    like $pty->text, qr/paged:   time /, 'which waits until the pager ends';
}

# ---- through a pipe ----
for my $words (['status'], ['log'], ['doctor'], ['explain'], ['diagnose', 'hubspot'], [qw(run list)],
    ['help'], [qw(mapping show hubspot)])
{
    my ($code, $out, $err) = $rig->cmd(@$words);
    unlike $out . $err, qr/[\e\r]/, "@$words through a pipe: no escape codes";
}

# ---- forms ----
{
    my $rows = json->decode($rig->must(qw(log --errors-only --json), 'attempt,record,code'));
    is_deeply [sort keys %{$rows->[0]}], [qw(attempt code record)], '--json a,b: these fields';
    is $rows->[0]{code}, 'map_type_mismatch', 'of the rows';
    my ($code, $out, $err) = $rig->cmd(qw(run list --json));
    ok json->decode($out)->[0]{run_id}, '--json alone is -o json';
    like $err, qr/^Fields: run_id,/m, 'and says which fields there are';
    is(($rig->cmd(qw(log --json atempt)))[0], 2, '2: a field that does not exist');
    like(($rig->cmd(qw(log --json atempt)))[2], qr/did you mean 'attempt/, 'with a suggestion');
    is(($rig->cmd(qw(status --json hubspot)))[0], 0, '--json before a provider takes no fields');
    my @names = split /\n/, $rig->must(qw(log -o name -n 5));
    is scalar(grep { /^\d{17,}$/ } @names), 5, '-o name: ids alone';
    my ($line) = split /\n/, $rig->must(qw(log --plain -n 1));
    cmp_ok scalar(split /\t/, $line, -1), '>', 12, '--plain: tabs between values';
    like $rig->must(qw(log -o wide -n 1)), qr/REQUEST.*CODE/, '-o wide: more columns';
    like $rig->must(qw(log -n 1)), qr/\d\d:\d\d:\d\d\+09 /, 'times in the zone of the workspace';
    like $rig->must(qw(log -n 1 --utc)), qr/\d\d:\d\d:\d\d\+00 /, '--utc: in UTC';
    like json->decode($rig->must(qw(log -n 1 -o json)))->[0]{started_at}, qr/\+09:00$/,
        'in JSON too, with the offset';
}

# ---- pages ----
{
    my @all = split /\n/, $rig->must(qw(log -n 0 -o name));
    my (@paged, $before);
    for (1 .. 100) {
        my @page = split /\n/, $rig->must('log', '-n', 7, '-o', 'name',
            $before ? ('--before', $before) : ());
        # New rows move nothing.
        $rig->must('resync', 'hubspot', $members[5], '--wait') if @paged == 7;
        push @paged, @page;
        last if @page < 7;
        $before = $page[-1];
    }
    is_deeply \@paged, \@all, 'pages of 7 are the whole log, whatever comes meanwhile';
    my $at = $rig->value("select to_char(now() + interval '1 hour', 'YYYY-MM-DD HH24:MI:SSOF')");
    is $rig->must('log', '--since', $at, '-o', 'name'), '', '--since a moment to come: nothing';
    is $rig->must(qw(log --until 24h -o name)), '', '--until yesterday: nothing';
    is scalar(split /\n/, $rig->must(qw(log --since 2026-01-01 -n 0 -o name))), @all + 1,
        '--since a day: all';
    is(($rig->cmd(qw(log --until soon)))[0], 2, '2: a time that is none');
    is(($rig->cmd(qw(log -n many)))[0], 2, '2: a number that is none');
}

{
    my @runs = split /\n/, $rig->must(qw(run list -o name));
    is $rig->must('run', 'list', '-o', 'name', '-n', 1, '--before', $runs[0]), "$runs[1]\n",
        'run list has pages';
    my @audit = split /\n/, $rig->must(qw(audit -n 2 -o name));
    is $rig->must('audit', '-n', 1, '-o', 'name', '--before', $audit[0]), "$audit[1]\n",
        'so has audit';
    my @customers = split /\n/, $rig->must(qw(customer list -n 2 -o name));
    is $rig->must('customer', 'list', '-n', 1, '-o', 'name', '--after', $customers[0]),
        "$customers[1]\n", 'so have customers';
}
{
    my $full = 'exec "$0" run list -o json > /dev/full';
    my ($code, $out, $err) = Psync::run_argv({$rig->environment}, undef, 'sh', '-c', $full,
        Psync::bin() . '/pivotal-sync');
    is $code, 1, '1: a result that cannot be written';
    like $err, qr/cannot write/, 'and it says so';
}

# ---- questions ----
{
    my ($code, $out, $err) = $rig->cmd(qw(connection disconnect stripe));
    is $code, 2, 'without a terminal nobody is asked';
    like $err, qr/--yes/, 'and it says what to add';
    my $pty = at_terminal([qw(connection disconnect stripe)]);
    ok defined $pty->read_until(qr/Type acct_1SimDefault to go on: /, 20), 'at one it asks';
    $pty->type("acct_other\n");
    is $pty->end(20), 2, 'another answer: nothing is done';
    is(($rig->cmd(qw(connection disconnect stripe --confirm acct_other)))[0], 2,
        '--confirm with another name: nothing is done');
    $pty = at_terminal([qw(connection disconnect stripe --no-input)]);
    is $pty->end(20), 2, '--no-input asks nothing';
    is $rig->value("select state from psync.connection where provider = 'stripe'"), 'connected',
        'it is connected still';
    $pty = at_terminal([qw(retry --failed --code map_type_mismatch)]);
    ok defined $pty->read_until(qr/Retry 4 records\? \[y\/N\] /, 20), 'retry --failed asks';
    $pty->type("n\n");
    $pty->end(20);
    like $pty->text, qr/Nothing is retried/, 'no: nothing is done';
    $pty = at_terminal([qw(retry --failed --yes --code map_type_mismatch)]);
    is $pty->end(20), 0, 'retry --failed --yes asks nothing';
    like $pty->text, qr/Retrying 4 records/, 'and does it';
    $pty = at_terminal([qw(connection disconnect stripe)]);
    $pty->read_until(qr/to go on: /, 20);
    $pty->type("acct_1SimDefault\n");
    is $pty->end(20), 0, 'the account\'s name: it is done';
}

# ---- verbs of runs and the queue ----
{
    my ($run) = @{$rig->cmd_json(qw(run list -n 1))};
    is $rig->cmd_json('run', 'show', $run->{run_id})->{run_id}, $run->{run_id}, 'run show';
    is(($rig->cmd(qw(run show 99)))[0], 3, '3: a run that does not exist');
    is(($rig->cmd(qw(run-now hubspot --incremental --wait --timeout 60s)))[0], 0,
        'run-now --incremental --wait');
    is(($rig->cmd('retry', '--record', $members[5]))[0], 0, 'retry --record of what is good');
    is(($rig->cmd(qw(retry --record none)))[0], 3, '3: retry --record of the unknown');
    $rig->must(qw(queue pause));
    $rig->must('resync', 'hubspot', $members[6]);
    is(($rig->cmd(qw(queue drain --timeout 30s)))[0], 0, 'queue drain');
    my @waiting = grep { $_->{id} eq $members[6] } @{$rig->cmd_json(qw(queue list))};
    is scalar(@waiting), 1, 'what came meanwhile waits';
    $rig->must(qw(queue resume));
    wait_for('queue resume: it is done', 20, sub {
        !grep { $_->{id} eq $members[6] } @{$rig->cmd_json(qw(queue list))};
    });
    $rig->must(qw(queue pause --lane nightly));
    $rig->must(qw(queue resume --lane nightly));
    is(($rig->cmd(qw(queue pause --lane nightl)))[0], 2, '2: a lane that does not exist');
    is_deeply $rig->cmd_json(qw(queue parked --code map_type_mismatch)), [], 'queue parked --code';
    $rig->must('queue', 'pause', 'hubspot');
    ok $rig->value("select paused_at from psync.connection where provider = 'hubspot'"),
        'queue pause PROVIDER pauses its connection';
    $rig->must('queue', 'resume', 'hubspot');
}

done_testing;
