{#- Condition for a team's events between two timestamps. -#}
(team_id = {team_id:Int64}) AND (timestamp >= {since:DateTime64(6, 'UTC')}) AND (timestamp < {until:DateTime64(6, 'UTC')})
