#!/usr/bin/perl
# migrate may be run twice, and from several places at once.
use strict;
use warnings;

use FindBin qw($Bin);
use lib "$Bin/lib";
use Psync;
use Test::More;

my $rig = Psync->new(no_migrate => 1, sim => [qw(--companies 0 --list-members 0 --contacts 0),
    qw(--customers 0)]);

sub schema { # everything that is defined, as one text
    return $rig->value(q{
        select string_agg(t, E'\n' order by t) from (
            select format('%s %s.%s %s', c.relkind, n.nspname, c.relname,
                string_agg(format('%s %s %s', a.attname, format_type(a.atttypid, a.atttypmod),
                    a.attnotnull), ', ' order by a.attnum)) as t
            from pg_class c join pg_namespace n on n.oid = c.relnamespace
            left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0
            where n.nspname in ('psync', 'psync_bi') group by c.oid, n.oid, c.relkind, n.nspname,
                c.relname
            union all
            select format('%s %s', p.oid::regprocedure, md5(p.prosrc)) from pg_proc p
            where p.pronamespace in (select oid from pg_namespace
                where nspname in ('psync', 'psync_bi'))) x});
}

my ($code, $out) = $rig->cmd('migrate', '--dry-run');
is $code, 0, 'a dry run on an empty database';
isnt $out, '', 'lists what would be done';
is $rig->value(q{select count(*) from pg_namespace where nspname = 'psync'}), 0, 'and does nothing';
isnt(($rig->cmd('status'))[0], 0, 'without a schema the other commands fail');

my @places = map { "migrate-$_" } 1 .. 4;
$rig->cmd_start($_, 'migrate') for @places;
is $rig->cmd_end($_, 60), 0, "$_, beside the others, ends with 0" for @places;
my $steps = $rig->value('select count(*) from psync.migration');
cmp_ok $steps, '>', 0, 'the steps are recorded';
is $rig->value('select count(*) - count(distinct m.*) from psync.migration m'), 0, 'each once';
my $before = schema();
like $before, qr/psync_bi\.sync_log/, 'the views are there';

is $rig->cmd_end($rig->cmd_start('again', 'migrate') && 'again', 60), 0, 'once more ends with 0';
is schema(), $before, 'and changes nothing';
is $rig->value('select count(*) from psync.migration'), $steps, 'and records nothing';
$rig->must('workspace', 'add', 'acme');
$rig->must('migrate');
is $rig->value('select name from psync.workspace'), 'acme', 'data stays';

# From two places while programs are at work.
$rig->start(qw(webhook-gw scheduler worker));
$rig->cmd_start($_, 'migrate') for @places;
is $rig->cmd_end($_, 60), 0, "$_, beside live programs, ends with 0" for @places;
ok $rig->running($_), "$_ runs on" for qw(webhook-gw scheduler worker);

is $rig->value(q{select string_agg(rolname, ' ' order by rolname) from pg_roles
    where rolname like 'psync\_%'}), 'psync_app psync_bi_reader psync_gw psync_owner',
    'the roles are there';
done_testing;
